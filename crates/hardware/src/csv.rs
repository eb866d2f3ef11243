//! Cells of CSV files.

/// A cell as RFC 4180 has it: in quotes where it needs them.
///
/// ```
/// use systoliq_hardware::csv::quoted;
/// assert_eq!(["8 bit", "a,b", "say \"x\""].map(quoted), ["8 bit", "\"a,b\"", "\"say \"\"x\"\"\""]);
/// assert_eq!(quoted("a\nb"), "\"a\nb\"");
/// ```
pub fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
