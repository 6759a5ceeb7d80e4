//! What a record itself asks for.

use serde::Deserialize;

use super::Injected;

/// What a record asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    calls: Vec<Injected>,
    always: bool,
}

impl Marker {
    /// The marker in a record, `None` if it has none.
    ///
    /// # Errors
    ///
    /// What is wrong with the marker, and what is allowed.
    pub fn find(record: &[u8]) -> Result<Option<Self>, String> {
        const MEMBER: &[u8] = b"\"$fault\"";
        #[derive(Deserialize)]
        struct Marked {
            #[serde(rename = "$fault")]
            fault: Option<String>,
        }
        // Records without one, which is nearly all, are not parsed for it.
        if !record.windows(MEMBER.len()).any(|window| window == MEMBER) {
            return Ok(None);
        }
        let marked = serde_json::from_slice::<Marked>(record).ok();
        marked
            .and_then(|marked| marked.fault)
            .map(|text| Self::read(&text))
            .transpose()
    }

    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (list, always) = match text.strip_prefix("always ") {
            Some(list) => (list, true),
            None => (text, false),
        };
        let calls = list.split(',').map(|word| match word.trim() {
            "throttle" => Ok(Injected::Throttle),
            "error" => Ok(Injected::Error),
            "refuse" => Ok(Injected::Refuse),
            "hang" => Ok(Injected::Hang),
            other => Err(format!(
                "$fault: {other:?}; allowed: throttle, error, refuse, hang, several with commas, \"always \" before one"
            )),
        });
        let calls = calls.collect::<Result<_, _>>()?;
        Ok(Self { calls, always })
    }

    /// What becomes of a call with so many before it.
    pub(super) fn at(&self, earlier: usize) -> Option<Injected> {
        let place = if self.always {
            earlier % self.calls.len()
        } else {
            earlier
        };
        self.calls.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_scripts_its_records_calls() {
        let find = |marker: &str| Marker::find(format!(r#"{{"$fault":"{marker}","amount":1}}"#).as_bytes());
        let next = |marker: &Marker| [0, 1, 2, 3].map(|earlier| marker.at(earlier));
        let twice = find("throttle, error").unwrap().unwrap();
        assert_eq!(
            next(&twice),
            [Some(Injected::Throttle), Some(Injected::Error), None, None]
        );
        let always = find("always hang").unwrap().unwrap();
        assert_eq!(next(&always), [Some(Injected::Hang); 4]);
        assert_eq!(Marker::find(b"{\"amount\":1}"), Ok(None));
        let wrong = find("explode").unwrap_err();
        assert!(
            wrong.contains("explode") && wrong.contains("throttle, error, refuse, hang"),
            "{wrong}"
        );
    }
}
