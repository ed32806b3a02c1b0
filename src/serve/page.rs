//! Pages of a list: `limit`, and `page_token` for the next one.
//!
//! A token is the name of the last item seen, in hexadecimal: a list that grows between two pages neither repeats nor skips what was there.

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::hex::{hex, unhex};

/// Items of a page where nothing is asked for.
const DEFAULT: usize = 100;
/// Items of a page at most.
const MOST: usize = 1000;

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<usize>,
    page_token: Option<String>,
}

/// A page.
#[derive(Debug, Serialize)]
pub(super) struct Items<T> {
    pub(super) items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_page_token: Option<String>,
}

/// The names on a page, and what comes after them.
#[derive(Debug)]
pub(super) struct Turned<T> {
    pub(super) items: Vec<T>,
    next: Option<String>,
}

impl<T> Turned<T> {
    /// The page with these items in place of the names.
    pub(super) fn with<U>(self, items: Vec<U>) -> Items<U> {
        Items {
            items,
            next_page_token: self.next,
        }
    }

    /// The page as it is.
    pub(super) fn page(self) -> Items<T> {
        Items {
            items: self.items,
            next_page_token: self.next,
        }
    }
}

impl Page {
    /// A page of a list that is asked for with more than the page.
    pub(super) fn of(limit: Option<usize>, page_token: Option<String>) -> Self {
        Self { limit, page_token }
    }

    /// Takes the page out of all items, which are in the order of their names, ascending or descending.
    ///
    /// # Errors
    /// 400 for a limit out of range, or a token that is none.
    pub(super) fn turn<T>(
        &self,
        all: Vec<T>,
        name: impl Fn(&T) -> String,
    ) -> Result<Turned<T>, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT);
        if !(1..=MOST).contains(&limit) {
            return Err(Problem::bad_request(format!("`limit` is {limit}"))
                .with_hint(format!("use 1 to {MOST}")));
        }
        let after = self.page_token.as_deref().map(last_of).transpose()?;
        let mut all = all.into_iter().peekable();
        if let Some(after) = after {
            // The item may be gone by now only where somebody removed it by hand; the list then ends.
            all.by_ref().find(|item| name(item) == after);
        }
        let items: Vec<T> = all.by_ref().take(limit).collect();
        let more = all.peek().is_some();
        let last = items.last().filter(|_| more);
        let next = last.map(|item| hex(name(item).as_bytes()));
        Ok(Turned { items, next })
    }
}

/// The name of the last item of the page before.
fn last_of(token: &str) -> Result<String, Problem> {
    let name = unhex(token).and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or_else(|| {
        Problem::bad_request("`page_token` is none")
            .with_hint("take `next_page_token` of the page before, as it is")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;

    fn pages(all: &[&str], limit: usize) -> Vec<Vec<String>> {
        let mut page = Page {
            limit: Some(limit),
            page_token: None,
        };
        let mut pages = Vec::new();
        loop {
            let all = all.iter().map(|s| (*s).to_owned()).collect();
            let turned = page.turn(all, Clone::clone).unwrap().page();
            pages.push(turned.items);
            match turned.next_page_token {
                Some(token) => page.page_token = Some(token),
                None => return pages,
            }
        }
    }

    #[test]
    fn pages_have_each_item_once_and_the_last_one_says_so() {
        let all = ["a", "b", "é", "x/y", "z"];
        for limit in 1..=6 {
            let pages = pages(&all, limit);
            assert_eq!(pages.len(), all.len().div_ceil(limit));
            assert_eq!(pages.concat(), all);
        }
        assert_eq!(pages(&[], 5), [Vec::<String>::new()]);
    }

    #[test]
    fn a_limit_out_of_range_and_a_token_that_is_none_are_refused() {
        for (limit, token) in [(0, None), (1001, None), (5, Some("xyz")), (5, Some("ff"))] {
            let page = Page {
                limit: Some(limit),
                page_token: token.map(str::to_owned),
            };
            let refused = page.turn(vec!["a"], |s| (*s).to_owned());
            assert_eq!(refused.unwrap_err().into_response().status(), 400);
        }
    }
}
