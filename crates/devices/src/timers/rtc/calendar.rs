//! Dates as the clock's registers show them: BCD or binary, 12 or 24 hours, and alarms.
//!
//! Spec: Motorola MC146818A datasheet, "Time, Calendar, and Alarm Locations". Days are counted in
//! the proleptic Gregorian calendar, without leap seconds, as Unix time does.

use super::{B_24_HOURS, B_BINARY, CENTURY};

const DAY: u64 = 86_400;
/// Bit of the hour register in 12-hour mode.
const AFTERNOON: u8 = 1 << 7;
/// Alarm bytes from here up match every value.
const ANY: u8 = 0xc0;

/// A moment. Fields that a guest wrote may be anything; [`DateTime::to_seconds`] carries over what
/// is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateTime {
    year: u64,
    /// 1 to 12.
    month: u8,
    /// 1 to 31.
    day: u8,
    /// 1 is Sunday.
    weekday: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

fn byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

fn encode(value: u8, format: u8) -> u8 {
    if format & B_BINARY != 0 {
        value
    } else {
        ((value / 10 % 16) << 4) | (value % 10)
    }
}

fn decode(raw: u8, format: u8) -> u8 {
    if format & B_BINARY != 0 {
        raw
    } else {
        // At most 15 * 10 + 15.
        (raw >> 4) * 10 + (raw & 0xf)
    }
}

fn encode_hour(hour: u8, format: u8) -> u8 {
    if format & B_24_HOURS != 0 {
        return encode(hour, format);
    }
    let of_twelve = match hour % 12 {
        0 => 12,
        hour => hour,
    };
    let half = if hour >= 12 { AFTERNOON } else { 0 };
    encode(of_twelve, format) | half
}

fn decode_hour(raw: u8, format: u8) -> u8 {
    if format & B_24_HOURS != 0 {
        return decode(raw, format);
    }
    let hour = decode(raw & !AFTERNOON, format) % 12;
    if raw & AFTERNOON != 0 {
        hour + 12
    } else {
        hour
    }
}

impl DateTime {
    /// `seconds` since 1970. Years beyond 9999, which the registers cannot show, stay there.
    pub(super) fn from_seconds(seconds: u64) -> DateTime {
        let seconds = seconds.min(253_402_300_799);
        let (days, time) = (seconds / DAY, seconds % DAY);
        // Civil-from-days: the year begins in March, so that the leap day is its last; eras are
        // of 400 years, the first begins on 0000-03-01.
        let since = days + 719_468;
        let (era, of_era) = (since / 146_097, since % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        DateTime {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month: byte(month),
            day: byte(day_of_year - (153 * from_march + 2) / 5 + 1),
            // 1970-01-01 was a Thursday.
            weekday: byte((days + 4) % 7 + 1),
            hour: byte(time / 3600),
            minute: byte(time / 60 % 60),
            second: byte(time % 60),
        }
    }

    /// Seconds since 1970; a moment before it is 1970.
    pub(super) fn to_seconds(self) -> u64 {
        let month = u64::from(self.month.clamp(1, 12));
        let year = self.year - u64::from(month <= 2 && self.year > 0);
        let (era, year_of_era) = (year / 400, year % 400);
        let from_march = (month + 9) % 12;
        let day_of_year = (153 * from_march + 2) / 5 + u64::from(self.day.max(1)) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = (era * 146_097 + day_of_era).saturating_sub(719_468);
        days * DAY
            + u64::from(self.hour) * 3600
            + u64::from(self.minute) * 60
            + u64::from(self.second)
    }

    /// Register numbers and what they show.
    pub(super) fn to_registers(self, format: u8) -> [(u8, u8); 8] {
        [
            (0, encode(self.second, format)),
            (2, encode(self.minute, format)),
            (4, encode_hour(self.hour, format)),
            (6, encode(self.weekday, format)),
            (7, encode(self.day, format)),
            (8, encode(self.month, format)),
            (9, encode(byte(self.year % 100), format)),
            // Firmware and kernels read the century as BCD or binary like the rest.
            (CENTURY, encode(byte(self.year / 100), format)),
        ]
    }

    /// From second, minute, hour, day, month, year and century. The weekday follows from the date.
    pub(super) fn from_registers(registers: [u8; 7], format: u8) -> DateTime {
        let [second, minute, hour, day, month, year, century] = registers;
        let plain = |raw| decode(raw, format);
        DateTime {
            year: u64::from(plain(century)) * 100 + u64::from(plain(year)),
            month: plain(month),
            day: plain(day),
            weekday: 0,
            hour: decode_hour(hour, format),
            minute: plain(minute),
            second: plain(second),
        }
    }
}

/// Second, minute and hour of the alarm; `None` is every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alarm {
    second: Option<u8>,
    minute: Option<u8>,
    hour: Option<u8>,
}

impl Alarm {
    /// From registers 1, 3 and 5.
    pub(super) fn from_registers(registers: [u8; 3], format: u8) -> Alarm {
        let [second, minute, hour] = registers;
        let field = |raw: u8, value| (raw < ANY).then_some(value);
        Alarm {
            second: field(second, decode(second, format)),
            minute: field(minute, decode(minute, format)),
            hour: field(hour, decode_hour(hour, format)),
        }
    }

    /// The first second after `seconds` at which the alarm goes off; `None` if it never does.
    pub(super) fn next_after(self, seconds: u64) -> Option<u64> {
        let from = seconds.checked_add(1)?;
        let midnight = from - from % DAY;
        let today = self.next_in_day(from % DAY).map(|time| midnight + time);
        today.or_else(|| {
            let tomorrow = midnight.checked_add(DAY)?;
            tomorrow.checked_add(self.next_in_day(0)?)
        })
    }

    /// Walks hours, then minutes, then seconds, and enters only those that match.
    fn next_in_day(self, from: u64) -> Option<u64> {
        let matches = |field: Option<u8>, value: u64| field.is_none_or(|f| u64::from(f) == value);
        let hours = (from / 3600..24).filter(|&hour| matches(self.hour, hour));
        let minutes = hours.flat_map(|hour| hour * 60..hour * 60 + 60);
        let minutes = minutes.filter(|&at| at * 60 + 59 >= from && matches(self.minute, at % 60));
        let mut times = minutes.flat_map(|at| at * 60..at * 60 + 60);
        times.find(|&time| time >= from && matches(self.second, time % 60))
    }
}
