//! Probabilities and durations as people write them: `2%`, `0.5%`, `0.02`; `5ms`, `1s`, `250us`.

use std::time::Duration;

/// Reads a probability: a number with `%`, or a share between 0 and 1.
pub(crate) fn probability(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let value: f64 = number.trim().parse().map_err(|_| hint(text))?;
    let share = value / scale;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err(hint(text))
    }
}

fn hint(text: &str) -> String {
    format!("{text:?} is no probability; write 2% or 0.02")
}

/// Reads a duration with its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let hint = || format!("{text:?} is no duration; write 5ms, 250us or 1s");
    let at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(hint)?;
    let (number, unit) = text.split_at(at);
    let seconds_per_unit = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        _ => return Err(hint()),
    };
    let value: f64 = number.trim().parse().map_err(|_| hint())?;
    Duration::try_from_secs_f64(value * seconds_per_unit).map_err(|_| hint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_probability() {
        assert_eq!(probability("2%"), Ok(0.02));
        assert_eq!(probability("0.5"), Ok(0.5));
        assert!(probability("101%").is_err());
        assert!(probability("-1%").is_err());
        assert!(probability("NaN").is_err());
        assert!(probability("lots").is_err());
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert!(duration("5").is_err());
        assert!(duration("-5ms").is_err());
        assert!(duration("5h").is_err());
    }
}
