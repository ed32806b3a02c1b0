//! Bearer tokens: 256 random bits, of which a server keeps the SHA-256 alone.
//!
//! A slow hash would add nothing: there is no dictionary of 256-bit numbers to try.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::ServeError;
use crate::hex::{hex, unhex};
use crate::workspace::check_name;

/// What tokens begin with, so that scanners for secrets find them.
const PREFIX: &str = "understudy_";

/// What a token allows; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything, query it, and have images labelled.
    Read,
    /// Submit work.
    Submit,
    /// Make another teacher the current one.
    Promote,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Promote => "promote",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "submit" => Ok(Self::Submit),
            "promote" => Ok(Self::Promote),
            _ => Err(format!("`{text}` is no role: read, submit and promote are")),
        }
    }
}

/// A new token, and the line of the token file that lets it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What a client sends; it is kept nowhere.
    pub token: String,
    /// NAME ROLE SHA256.
    pub line: String,
}

impl NewToken {
    /// Makes one.
    ///
    /// # Errors
    /// [`ServeError::Random`]; a name that cannot stand in a line is a [`crate::workspace::WorkspaceError::BadName`].
    pub fn make(name: &str, role: Role) -> Result<Self, crate::Error> {
        check_name("token", name)?;
        let mut random = [0_u8; 32];
        getrandom02::getrandom(&mut random).map_err(|e| ServeError::Random(e.to_string()))?;
        let token = format!("{PREFIX}{}", hex(&random));
        let line = format!("{name} {role} {}", hex(&digest(&token)));
        Ok(Self { token, line })
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Who a token is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) role: Role,
}

/// The tokens of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    entries: Vec<([u8; 32], Holder)>,
}

impl Tokens {
    /// Reads a file: a line a token, `#` begins a comment.
    pub(super) fn read(path: &Path) -> Result<Self, ServeError> {
        let text = std::fs::read_to_string(path).map_err(|source| ServeError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ServeError> {
        let mut entries: Vec<([u8; 32], Holder)> = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let bad = |what: String| ServeError::Tokens {
                path: path.to_owned(),
                line: number,
                what,
            };
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, role, hash] = words[..] else {
                return Err(bad(format!("{} words instead of three", words.len())));
            };
            check_name("token", name).map_err(|e| bad(e.to_string()))?;
            let hash = unhex(hash)
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| bad("the hash is not one of 64 hexadecimal digits".into()))?;
            if entries.iter().any(|(_, holder)| holder.name == name) {
                return Err(bad(format!("`{name}` is there twice")));
            }
            let holder = Holder {
                name: name.to_owned(),
                role: role.parse().map_err(bad)?,
            };
            entries.push((hash, holder));
        }
        if entries.is_empty() {
            return Err(ServeError::NoTokens {
                path: path.to_owned(),
            });
        }
        Ok(Self { entries })
    }

    /// Whose token it is. Every entry is compared, whatever the ones before gave, in a time that does not depend on the digits.
    pub(super) fn find(&self, token: &str) -> Option<&Holder> {
        let digest = digest(token);
        let (mut found, mut any) = (0_u64, Choice::from(0));
        for ((hash, _), n) in self.entries.iter().zip(0..) {
            let same = hash.ct_eq(&digest);
            found.conditional_assign(&n, same);
            any |= same;
        }
        let entry = self.entries.get(found as usize);
        entry.filter(|_| bool::from(any)).map(|(_, holder)| holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_line_and_no_other_is() {
        let tokens: Vec<NewToken> = [("ci", Role::Read), ("ann", Role::Promote)]
            .map(|(name, role)| NewToken::make(name, role).unwrap())
            .into();
        assert_eq!(tokens[0].token.len(), PREFIX.len() + 64);
        let file = format!("# ours\n{}\n\n{} # hers\n", tokens[0].line, tokens[1].line);
        assert!(!file.contains(&tokens[0].token[PREFIX.len()..]));
        let read = Tokens::parse(Path::new("t"), &file).unwrap();
        let ann = read.find(&tokens[1].token).unwrap();
        assert_eq!((ann.name.as_str(), ann.role), ("ann", Role::Promote));
        assert_eq!(read.find(&tokens[0].token).unwrap().name, "ci");
        let other = NewToken::make("ci", Role::Read).unwrap();
        assert_eq!(read.find(&other.token), None);
        assert_eq!(read.find(""), None);
        assert!(Role::Read < Role::Submit && Role::Submit < Role::Promote);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let line = NewToken::make("a", Role::Read).unwrap().line;
        let hash = line.split(' ').next_back().unwrap();
        for (text, what) in [
            ("a read".to_owned(), "t`, line 1: 2 words instead of three"),
            ("\na read 12".into(), "line 2: the hash is not"),
            (format!("a root {hash}"), "`root` is no role"),
            (format!("../a read {hash}"), "cannot be the name of a token"),
            (format!("{line}\n{line}"), "line 2: `a` is there twice"),
            ("# nothing\n".into(), "has no tokens"),
        ] {
            let error = Tokens::parse(Path::new("t"), &text)
                .unwrap_err()
                .to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
