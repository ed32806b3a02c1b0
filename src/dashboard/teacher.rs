//! A model: what it is, what it goes back to, and what it has labelled.

use maud::html;

use super::frame::{Frame, Section};
use crate::lineage::{self, Lineage, LineageError, Meant};
use crate::report::ReportError;
use crate::workspace::Workspace;

pub(super) async fn page(workspace: &Workspace, name: &str) -> Result<String, ReportError> {
    let lineage = lineage::lineage(workspace, name, Some(Meant::Teacher)).await?;
    let table = lineage::table(&lineage);
    let Lineage::Teacher(of) = lineage else {
        return Err(LineageError::Unknown { name: name.into() }.into());
    };
    let (title, description, current) = (
        of.teacher.to_string(),
        of.teacher.description.clone(),
        of.current,
    );
    let frame = Frame {
        title,
        above: html! { "Teacher" },
        lede: html! {
            @if let Some(description) = &description { (description) "; " }
            @if current { "it is current" } @else { "it is not current" }
        },
        sections: vec![Section {
            title: "Lineage",
            lead: html! { p { "What it was made of, when it was promoted, and what it has labelled." } },
            content: html! { pre tabindex="0" { (table) } },
        }],
        script: None,
    };
    Ok(frame.render())
}
