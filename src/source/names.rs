//! Keys and names of a source's images.

use crate::store::Opened;

/// Keys and names of a source's images: an image's name is its key without the source's URL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    root: String,
    prefix: String,
    /// The name of the object that the source's URL names, where it names one.
    own: String,
}

impl Names {
    /// Of what lies below an open place, or is it.
    pub(super) fn below(place: &Opened) -> Self {
        Self {
            root: place.root.to_string(),
            prefix: place.url(),
            own: place.path.filename().unwrap_or("").to_owned(),
        }
    }

    /// The key of an object.
    pub(crate) fn key(&self, object: &str) -> String {
        format!("{}{object}", self.root)
    }

    /// The name of an image.
    pub(crate) fn of(&self, key: &str) -> String {
        match key.strip_prefix(&self.prefix) {
            None => key.to_owned(),
            Some(below) => match below.strip_prefix('/') {
                Some(below) => below.to_owned(),
                // The bucket's root, which ends in its slash; or the one object itself.
                None if self.prefix.ends_with('/') || self.prefix.is_empty() => below.to_owned(),
                None => format!("{}{below}", self.own),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{self, StorageOptions};

    #[test]
    fn an_images_name_is_its_key_without_the_place_where_the_source_lies() {
        let name = |source: &str, key: &str| {
            let place = store::open(source, &StorageOptions::default()).unwrap();
            Names::below(&place).of(key)
        };
        for (source, key, expected) in [
            ("/data/x", "file:///data/x/cat/1.jpg", "cat/1.jpg"),
            ("/data/x/", "file:///data/x/0.tar#1.jpg", "0.tar#1.jpg"),
            ("/data/x/0.tar", "file:///data/x/0.tar#1.jpg", "0.tar#1.jpg"),
            ("s3://bucket", "s3://bucket/cat/1.jpg", "cat/1.jpg"),
            ("s3://bucket/", "s3://bucket/cat/1.jpg", "cat/1.jpg"),
            (
                "s3://bucket/a.parquet",
                "s3://bucket/a.parquet#7",
                "a.parquet#7",
            ),
        ] {
            assert_eq!(name(source, key), expected, "{source}");
        }
        // Of a list of URLs an image is called by its URL.
        let url = "https://host/1.jpg";
        assert_eq!(Names::default().of(url), url);
    }
}
