//! Points in time as Kubernetes writes them (RFC 3339, whole seconds, UTC), from and to seconds since 1970.

const DAY: u64 = 86_400;
/// Days from 1 March of the year 0 to 1 January 1970, in the calendar of today.
const EPOCH: u64 = 719_468;
/// Days of 400 years: after that many the calendar repeats.
const ERA: u64 = 146_097;

/// As in `2026-11-21T21:30:00Z`.
#[must_use]
pub fn write(seconds: u64) -> String {
    let days = seconds / DAY + EPOCH;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Counted from March, so that the leap day is the last one.
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z", year + era * 400 + next)
}

/// The seconds since 1970; `None` for what is no such text, or before 1970. Parts of a second are let go.
#[must_use]
pub fn read(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let time = time.split('.').next()?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    Some(days.checked_sub(EPOCH)? * DAY + hour * 3_600 + minute * 60 + second)
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between).map(|part| part.parse().ok());
    let all = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_written_and_read_back() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_704_067_200, "2024-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(write(seconds), text);
            assert_eq!(read(text), Some(seconds));
        }
    }

    #[test]
    fn every_day_reads_back_as_written() {
        for day in (0..60_000).step_by(7) {
            assert_eq!(read(&write(day * DAY + 12_345)), Some(day * DAY + 12_345));
        }
    }

    #[test]
    fn what_is_no_point_in_time_is_none() {
        for text in
            ["", "now", "2024-01-01", "2024-13-01T00:00:00Z", "2024-01-01T25:00:00Z", "1969-12-31T00:00:00Z"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("2024-01-01T00:00:00.123456Z"), Some(1_704_067_200));
    }
}
