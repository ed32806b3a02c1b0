//! Whether it is the store that does not answer or refuses, or a single object: others are asked for.

use futures::StreamExt as _;

use super::{ReadError, ReadErrorKind, Source};

/// Objects that are asked for a byte, to know whether a store answers at all.
const OTHERS: usize = 3;

/// And to know whether it refuses all of them: more than the neighbours that are refused together.
const OTHERS_OF_REFUSED: usize = 64;

impl Source {
    /// Whether the store answers anything while it does not give this object: for another one, whatever the answer, or with the size of this one where there is no other.
    pub async fn answers(&self, object: &str) -> bool {
        let answers = |e: &ReadError| e.kind != ReadErrorKind::Retryable;
        let others = self.others(object, OTHERS, answers).await;
        match others {
            Some(answered) => answered,
            None => self.reader().announced(object, true).await.is_ok(),
        }
    }

    /// Whether the store refuses all others as it refuses this object, as far as can be told: it refuses the one that was given last, or gives none of the first ones of the listing.
    pub async fn refuses_all(&self, object: &str, last_given: Option<&str>) -> bool {
        if let Some(last) = last_given {
            match self.reader().first_byte(last).await.map_err(|e| e.kind) {
                // What fails for a moment tells nothing.
                Ok(_) | Err(ReadErrorKind::Retryable) => return false,
                Err(ReadErrorKind::Credentials | ReadErrorKind::Forbidden) => return true,
                // It is gone, or another one, or empty.
                Err(_) => {}
            }
        }
        let tells_nothing = |e: &ReadError| e.kind == ReadErrorKind::Retryable;
        let given = self.others(object, OTHERS_OF_REFUSED, tells_nothing).await;
        !given.unwrap_or(false)
    }

    /// Whether one of so many other objects, the first of the listing, gives a byte or an error that counts as much; `None` where there is no other.
    async fn others(
        &self,
        object: &str,
        most: usize,
        counts: impl Fn(&ReadError) -> bool,
    ) -> Option<bool> {
        let reader = self.reader();
        let mut others = self.reading.list(Some(&self.listing.path));
        let mut asked = None;
        for _ in 0..=most {
            let next = tokio::time::timeout(self.read_timeout, others.next()).await;
            let Ok(Some(Ok(other))) = next else {
                break;
            };
            let other = other.location.as_ref();
            if other == object {
                continue;
            }
            match reader.first_byte(other).await {
                Err(e) if !counts(&e) => asked = Some(false),
                _ => return Some(true),
            }
        }
        asked
    }
}
