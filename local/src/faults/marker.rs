//! Markers: faults that a record itself asks for.

use serde::Deserialize;

use super::InjectedFault;

/// The faults that a record asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    faults: Vec<InjectedFault>,
    repeats: bool,
}

impl Marker {
    /// Returns the marker in a record, or `None` if it has none.
    ///
    /// # Errors
    ///
    /// A message with the invalid value and the allowed ones.
    pub fn find(record: &[u8]) -> Result<Option<Self>, String> {
        const MEMBER: &[u8] = b"\"$fault\"";
        #[derive(Deserialize)]
        struct Marked {
            #[serde(rename = "$fault")]
            fault: Option<String>,
        }
        // Nearly all records have no marker. They are not parsed.
        if !record.windows(MEMBER.len()).any(|window| window == MEMBER) {
            return Ok(None);
        }
        let marked = serde_json::from_slice::<Marked>(record).ok();
        marked
            .and_then(|marked| marked.fault)
            .map(|text| Self::parse(&text))
            .transpose()
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (list, repeats) = match text.strip_prefix("always ") {
            Some(list) => (list, true),
            None => (text, false),
        };
        let faults = list.split(',').map(|word| match word.trim() {
            "throttle" => Ok(InjectedFault::Throttle),
            "error" => Ok(InjectedFault::Error),
            "refuse" => Ok(InjectedFault::Refuse),
            "hang" => Ok(InjectedFault::Hang),
            other => Err(format!(
                "$fault: {other:?}; allowed: throttle, error, refuse, hang, several with commas, \"always \" before one"
            )),
        });
        let faults = faults.collect::<Result<_, _>>()?;
        Ok(Self { faults, repeats })
    }

    /// Returns the fault of the call that follows `earlier` calls for the record.
    pub(super) fn fault_after(&self, earlier: usize) -> Option<InjectedFault> {
        let index = if self.repeats {
            earlier % self.faults.len()
        } else {
            earlier
        };
        self.faults.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_determines_the_faults_of_its_records_calls() {
        let find = |marker: &str| Marker::find(format!(r#"{{"$fault":"{marker}","amount":1}}"#).as_bytes());
        let next = |marker: &Marker| [0, 1, 2, 3].map(|earlier| marker.fault_after(earlier));
        let twice = find("throttle, error").unwrap().unwrap();
        assert_eq!(
            next(&twice),
            [Some(InjectedFault::Throttle), Some(InjectedFault::Error), None, None]
        );
        let always = find("always hang").unwrap().unwrap();
        assert_eq!(next(&always), [Some(InjectedFault::Hang); 4]);
        assert_eq!(Marker::find(b"{\"amount\":1}"), Ok(None));
        let wrong = find("explode").unwrap_err();
        assert!(
            wrong.contains("explode") && wrong.contains("throttle, error, refuse, hang"),
            "{wrong}"
        );
    }
}
