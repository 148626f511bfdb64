//! Columns and durations as `kubectl` shows them.

use comfy_table::{Table, presets};

/// Columns under headers, two blanks between; nothing at all when there is no row.
pub(crate) fn table<const N: usize>(headers: [&str; N], rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headers);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// Seconds, in the two largest units that matter: `42s`, `5m10s`, `3h20m`, `12d4h`.
pub(crate) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{}s", seconds % 60),
        3600..86400 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// What there may be, or a dash.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_keep_their_two_largest_units() {
        let shown = [0, 59, 60, 310, 3600, 12000, 86400, 1_051_200].map(age);
        assert_eq!(shown, ["0s", "59s", "1m0s", "5m10s", "1h0m", "3h20m", "1d0h", "12d4h"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_where_they_end() {
        let text = table(["A", "LONG"], vec![["value".into(), "x".into()], ["y".into(), String::new()]]);
        assert_eq!(text, "A      LONG\nvalue  x\ny\n");
        assert_eq!(table(["A"], Vec::new()), "");
    }
}
