//! What ends when: weeks first, months after a quarter, years after two. Ten thousand certificates are a few dozen rows.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use crate::decide::name::SecretRef;
use crate::decide::plan::{Decision, Verdict};
use crate::report::Report;

/// So many weeks are shown before months.
const WEEKS: i32 = 13;
/// So many years are shown in months.
const YEARS: i16 = 2;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The periods in which something happens, by their first day.
pub(super) struct Calendar<'a> {
    periods: BTreeMap<Date, Period<'a>>,
    most: usize,
}

/// The periods under one heading.
pub(super) struct Month<'c, 'a> {
    pub(super) title: String,
    pub(super) periods: Vec<&'c Period<'a>>,
}

/// What happens in a period.
pub(super) struct Period<'a> {
    title: String,
    pub(super) label: String,
    /// The first moment after it.
    pub(super) until: Timestamp,
    pub(super) renewals: usize,
    pub(super) ends: usize,
    pub(super) at_risk: Vec<&'a SecretRef>,
}

impl<'a> Calendar<'a> {
    pub(super) fn of(report: &'a Report, decisions: &[(Verdict, &'a Decision)]) -> Self {
        let mut calendar = Self {
            periods: BTreeMap::new(),
            most: 1,
        };
        let days = Days::from(report.at);
        for (verdict, decision) in decisions {
            let row = report.row(*verdict, decision);
            if let Some(time) = row.renewal(report.at) {
                let period = calendar.period(&days, time);
                period.renewals += 1;
            }
            if let Some(time) = row.not_after {
                let period = calendar.period(&days, time);
                period.ends += 1;
                if row.is_at_risk() {
                    period.at_risk.push(&decision.certificate.secret);
                }
            }
        }
        let counts = calendar.periods.values().map(|period| period.renewals.max(period.ends));
        calendar.most = counts.max().unwrap_or(0).max(1);
        calendar
    }

    fn period(&mut self, days: &Days, time: Timestamp) -> &mut Period<'a> {
        let (first, last) = days.around(time);
        self.periods.entry(first).or_insert_with(|| days.period(first, last))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.periods.is_empty()
    }

    pub(super) fn months(&self) -> Vec<Month<'_, 'a>> {
        let mut months: Vec<Month<'_, 'a>> = Vec::new();
        for period in self.periods.values() {
            match months.last_mut() {
                Some(month) if month.title == period.title => month.periods.push(period),
                _ => months.push(Month {
                    title: period.title.clone(),
                    periods: vec![period],
                }),
            }
        }
        months
    }

    /// Of a bar, in hundredths of the longest one.
    pub(super) fn width(&self, count: &usize) -> usize {
        (100 * count).div_ceil(self.most)
    }
}

/// How time is divided, seen from a moment.
struct Days {
    now: Timestamp,
    today: Date,
    /// From here on months are shown.
    months: Date,
    /// From here on years are.
    years: Date,
}

impl From<Timestamp> for Days {
    fn from(now: Timestamp) -> Self {
        let today = date(now);
        let months = monday(today).saturating_add(WEEKS.weeks());
        let years = first_of_year(today.year().saturating_add(YEARS));
        Self {
            now,
            today,
            months,
            years,
        }
    }
}

impl Days {
    /// The first and the last day of the period that a time is in. What is over is in one that begins with time itself.
    fn around(&self, time: Timestamp) -> (Date, Date) {
        let day = date(time);
        if time <= self.now {
            return (Date::MIN, self.today);
        }
        if day < self.months {
            let monday = monday(day);
            return (monday.max(self.today), monday.saturating_add(6.days()));
        }
        if day < self.years {
            return (day.first_of_month().max(self.months), day.last_of_month());
        }
        (first_of_year(day.year()).max(self.months), day.last_of_year())
    }

    fn period<'a>(&self, first: Date, last: Date) -> Period<'a> {
        let is_over = first == Date::MIN;
        let title = match () {
            () if is_over => "Now".to_owned(),
            () if first < self.months => format!("{} {}", month(first), first.year()),
            () if first < self.years => first.year().to_string(),
            () => "Later".to_owned(),
        };
        let whole_month = first.day() == 1 && last == first.last_of_month();
        let label = match () {
            () if is_over => "today or earlier".to_owned(),
            () if first >= self.years => first.year().to_string(),
            () if whole_month => month(first).to_owned(),
            () => Span(first, last).to_string(),
        };
        let until = if is_over {
            self.now
                .saturating_add(SignedDuration::from_secs(1))
                .unwrap_or(self.now)
        } else {
            Offset::UTC
                .to_timestamp(last.saturating_add(1.day()).at(0, 0, 0, 0))
                .unwrap_or(Timestamp::MAX)
        };
        Period {
            title,
            label,
            until,
            renewals: 0,
            ends: 0,
            at_risk: Vec::new(),
        }
    }
}

fn date(time: Timestamp) -> Date {
    Offset::UTC.to_datetime(time).date()
}

/// The first day of a week.
fn monday(day: Date) -> Date {
    day.saturating_sub(i32::from(day.weekday().to_monday_zero_offset()).days())
}

fn first_of_year(year: i16) -> Date {
    Date::new(year, 1, 1).unwrap_or(Date::MAX)
}

fn month(day: Date) -> &'static str {
    usize::try_from(day.month() - 1)
        .ok()
        .and_then(|at| MONTHS.get(at))
        .unwrap_or(&"")
}

/// From a day to a day: `24–29 November`.
struct Span(Date, Date);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, last) = self;
        match () {
            () if first == last => write!(f, "{} {}", first.day(), month(*first)),
            () if first.month() == last.month() => write!(f, "{}–{} {}", first.day(), last.day(), month(*first)),
            () => write!(f, "{} {} – {} {}", first.day(), month(*first), last.day(), month(*last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_divided_into_weeks_months_and_years() {
        // A Tuesday.
        let days = Days::from("2026-11-24T12:00:00Z".parse::<Timestamp>().expect("a time"));
        for (time, title, label, until) in [
            (
                "2026-11-24T12:00:00Z",
                "Now",
                "today or earlier",
                "2026-11-24T12:00:01Z",
            ),
            (
                "1999-01-01T00:00:00Z",
                "Now",
                "today or earlier",
                "2026-11-24T12:00:01Z",
            ),
            (
                "2026-11-24T12:00:01Z",
                "November 2026",
                "24–29 November",
                "2026-11-30T00:00:00Z",
            ),
            (
                "2026-11-29T23:59:59Z",
                "November 2026",
                "24–29 November",
                "2026-11-30T00:00:00Z",
            ),
            (
                "2026-11-30T00:00:00Z",
                "November 2026",
                "30 November – 6 December",
                "2026-12-07T00:00:00Z",
            ),
            (
                "2027-02-21T00:00:00Z",
                "February 2027",
                "15–21 February",
                "2027-02-22T00:00:00Z",
            ),
            ("2027-02-22T00:00:00Z", "2027", "22–28 February", "2027-03-01T00:00:00Z"),
            ("2027-03-31T00:00:00Z", "2027", "March", "2027-04-01T00:00:00Z"),
            ("2027-12-31T23:59:59Z", "2027", "December", "2028-01-01T00:00:00Z"),
            ("2028-02-29T00:00:00Z", "Later", "2028", "2029-01-01T00:00:00Z"),
        ] {
            let (first, last) = days.around(time.parse().expect("a time"));
            let period = days.period(first, last);
            assert_eq!((&*period.title, &*period.label), (title, label), "{time}");
            assert_eq!(period.until.to_string(), until, "{time}");
        }
    }

    #[test]
    fn the_ends_of_time_have_their_periods() {
        for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let days = Days::from(now);
            for time in [Timestamp::MIN, now, Timestamp::MAX] {
                let (first, last) = days.around(time);
                let period = days.period(first, last);
                assert!(
                    time < period.until || period.until == Timestamp::MAX || now == Timestamp::MAX,
                    "{time}"
                );
            }
        }
    }
}
