/*
 * calendar.c
 *		Days of the shop.
 *
 * Pure: an instant and a zone in, days out, and back.  It reads no clock and no
 * setting, least of all the session's time zone.  What a day is called and when
 * clocks change the server knows; here is only what a condition makes of it.
 *
 * A birthday never leaves its month: in a year without 29 February it is the
 * 28th, and age goes up on that day.  Months and years count from today and
 * clamp to the month's end: 31 March less one month is the last of February.
 */
#include "segment.h"

#include "calendar.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

PG_FUNCTION_INFO_V1(segment_day_of);
PG_FUNCTION_INFO_V1(segment_begin_of_day);
PG_FUNCTION_INFO_V1(segment_add_offset);
PG_FUNCTION_INFO_V1(segment_day_reaching);
PG_FUNCTION_INFO_V1(segment_period);
PG_FUNCTION_INFO_V1(segment_during_change);
PG_FUNCTION_INFO_V1(segment_age);
PG_FUNCTION_INFO_V1(segment_anniversary);
PG_FUNCTION_INFO_V1(segment_anniversary_is_between);
PG_FUNCTION_INFO_V1(segment_anniversary_change);

#define is_finite_day(day)	(!DATE_NOT_FINITE(day) && IS_VALID_DATE(day))

/* ---- instants and days ---- */

/*
 * The shop's day of an instant: the last one that had begun by then.
 *
 * That is the day which local clocks show, except where they went back from a
 * new day into the one before (Newfoundland until 2011: from 00:01 to 23:01).
 * A day that has begun does not end again: what comes after is of the new day,
 * so that days follow one another and a verdict never runs backwards.
 */
bool
segment_day_of_instant(TimestampTz at, pg_tz *zone, DateADT *result)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	DateADT		day;
	TimestampTz next;

	if (TIMESTAMP_NOT_FINITE(at) ||
		timestamp2tm(at, &offset, &tm, &fsec, NULL, zone) != 0)
		return false;
	day = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
	while (segment_day_begins_at(day + 1, zone, &next) && next <= at)
		day++;
	*result = day;
	return true;
}

/*
 * Have local clocks ever gone back from a new day into the one before?  Where
 * they have not, the day of an instant is what AT TIME ZONE shows.
 */
bool
segment_days_come_again(pg_tz *zone)
{
	const pg_time_t until = (pg_time_t) (2200 - 1970) * 365 * SECS_PER_DAY;
	pg_time_t	from = -until;
	pg_time_t	change;
	long int	before_offset;
	long int	after_offset;
	int			before_isdst;
	int			after_isdst;

	while (from < until &&
		   pg_next_dst_boundary(&from, &before_offset, &before_isdst, &change, &after_offset, &after_isdst, zone) > 0)
	{
		pg_time_t	last_shown = change - 1 + before_offset + until;
		pg_time_t	first_shown = change + after_offset + until;

		if (first_shown / SECS_PER_DAY < last_shown / SECS_PER_DAY)
			return true;
		from = change;
	}
	return false;
}

/*
 * The first instant at which local clocks show this day, or a later one where
 * the day itself was skipped (Samoa, 30 December 2011).  Mostly that is
 * midnight; where midnight does not exist it is the instant at which clocks
 * jump over it, and where it comes twice, the first.
 *
 * From an instant at which it was not yet midnight anywhere we go from one
 * change of clocks to the next and ask whether midnight falls before it.
 */
bool
segment_day_begins_at(DateADT day, pg_tz *zone, TimestampTz *result)
{
	const pg_time_t epoch_offset = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (pg_time_t) SECS_PER_DAY;
	pg_time_t	midnight;
	pg_time_t	from;
	TimestampTz at;

	if (!is_finite_day(day) || day >= TIMESTAMP_END_JULIAN - POSTGRES_EPOCH_JDATE)
		return false;
	midnight = day * (pg_time_t) SECS_PER_DAY + epoch_offset;
	from = midnight - MAX_TZDISP_HOUR * SECS_PER_HOUR - SECS_PER_HOUR;
	for (;;)
	{
		long int	before_offset;
		long int	after_offset;
		int			before_isdst;
		int			after_isdst;
		pg_time_t	change;
		int			found = pg_next_dst_boundary(&from, &before_offset, &before_isdst,
												 &change, &after_offset, &after_isdst, zone);

		if (found < 0)
			return false;
		/* may lie before from: clocks jumped over midnight at from */
		if (found == 0 || midnight - before_offset < change)
		{
			from = Max(from, midnight - before_offset);
			break;
		}
		from = change;
	}
	at = (from - epoch_offset) * USECS_PER_SEC;
	if (!IS_VALID_TIMESTAMP(at))
		return false;
	*result = at;
	return true;
}

/* ---- offsets ---- */

/* +7d, -30d, +1m, -1y; false where it is not written so. */
bool
segment_parse_offset(const char *s, int len, DayOffset *result)
{
	int64		n = 0;

	if (len < 3 || (s[0] != '+' && s[0] != '-') || s[len - 1] == '\0' ||
		strchr("dwmy", pg_ascii_tolower((unsigned char) s[len - 1])) == NULL)
		return false;
	for (int i = 1; i < len - 1; i++)
	{
		if (s[i] < '0' || s[i] > '9')
			return false;
		n = n * 10 + (s[i] - '0');
		if (n > PG_INT32_MAX)
			return false;
	}
	result->n = s[0] == '-' ? -n : n;
	result->unit = pg_ascii_tolower((unsigned char) s[len - 1]);
	return true;
}

/* Any number of days, as a date if there is one. */
static bool
checked_day(int64 day, DateADT *result)
{
	if (day < DATETIME_MIN_JULIAN - POSTGRES_EPOCH_JDATE ||
		day >= DATE_END_JULIAN - POSTGRES_EPOCH_JDATE)
		return false;
	*result = (DateADT) day;
	return true;
}

bool
segment_date_parts(DateADT date, int *year, int *month, int *day)
{
	if (!is_finite_day(date))
		return false;
	j2date(date + POSTGRES_EPOCH_JDATE, year, month, day);
	return true;
}

/* The day of a month, or its last where it has no such day. */
static bool
day_in_month(int64 year, int month, int day, DateADT *result)
{
	if (year < JULIAN_MINYEAR || year > JULIAN_MAXYEAR)
		return false;
	day = Min(day, day_tab[isleap((int) year)][month - 1]);
	if (!IS_VALID_JULIAN((int) year, month, day))
		return false;
	return checked_day((int64) date2j((int) year, month, day) - POSTGRES_EPOCH_JDATE, result);
}

static bool
add_months(DateADT date, int64 months, DateADT *result)
{
	int			year;
	int			month;
	int			day;
	int64		since_year_0;
	int64		new_year;

	if (!segment_date_parts(date, &year, &month, &day))
		return false;
	since_year_0 = (int64) year * MONTHS_PER_YEAR + month - 1 + months;
	new_year = since_year_0 / MONTHS_PER_YEAR - (since_year_0 % MONTHS_PER_YEAR < 0 ? 1 : 0);
	return day_in_month(new_year, (int) (since_year_0 - new_year * MONTHS_PER_YEAR) + 1, day, result);
}

/* The day that an offset names, seen from a day. */
bool
segment_offset_day(DateADT day, DayOffset offset, DateADT *result)
{
	if (!is_finite_day(day))
		return false;
	switch (offset.unit)
	{
		case 'd':
			return checked_day((int64) day + offset.n, result);
		case 'w':
			return checked_day((int64) day + (int64) offset.n * 7, result);
		case 'm':
			return add_months(day, offset.n, result);
		case 'y':
			return add_months(day, (int64) offset.n * MONTHS_PER_YEAR, result);
	}
	elog(ERROR, "unrecognized unit of an offset: %d", offset.unit);
	return false;
}

/*
 * The first day whose offset day is the target or later.
 *
 * "figure >= today + offset" holds before the first day that reaches figure + 1
 * and never again; "figure <= today + offset" holds from the first day that
 * reaches the figure on.
 */
bool
segment_first_day_reaching(DateADT target, DayOffset offset, DateADT *result)
{
	DayOffset	back = {offset.n == PG_INT32_MIN ? PG_INT32_MAX : -offset.n, offset.unit};
	DateADT		day;
	DateADT		reached;

	/* right but for the ends of months, where several days reach the same one */
	if (!segment_offset_day(target, back, &day))
		return false;
	while (segment_offset_day(day - 1, offset, &reached) && reached >= target)
		day--;
	while (segment_offset_day(day, offset, &reached) && reached < target)
		day++;
	*result = day;
	return is_finite_day(day);
}

/* ---- periods ---- */

static const struct
{
	const char *name;
	PeriodUnit	unit;
	int			months;
}			units[] =
{
	{"week", PERIOD_WEEK, 0},
	{"month", PERIOD_MONTH, 1},
	{"quarter", PERIOD_QUARTER, 3},
	{"half_year", PERIOD_HALF_YEAR, 6},
	{"year", PERIOD_YEAR, 12},
	{"period", PERIOD_BLOCK, 0}
};

static bool
parse_unit(const char *s, int len, PeriodUnit *unit)
{
	for (int i = 0; i < lengthof(units); i++)
	{
		if (strlen(units[i].name) == len && pg_strncasecmp(s, units[i].name, len) == 0)
		{
			*unit = units[i].unit;
			return true;
		}
	}
	return false;
}

/*
 * this_month, last_week, next_year, month(-2); false where it is not written
 * so.  The months of a block are left at 12 from January.
 */
bool
segment_parse_period(const char *s, int len, Period *result)
{
	static const char *const words[] = {"last_", "this_", "next_"};
	const char *open = memchr(s, '(', len);
	const char *digit;
	int64		n = 0;

	result->months = MONTHS_PER_YEAR;
	result->starts_on = BLOCKS_FROM_JANUARY;
	for (int i = 0; i < lengthof(words); i++)
	{
		if (len > 5 && pg_strncasecmp(s, words[i], 5) == 0)
		{
			result->n = i - 1;
			return parse_unit(s + 5, len - 5, &result->unit);
		}
	}
	if (open == NULL || s[len - 1] != ')' || !parse_unit(s, open - s, &result->unit))
		return false;
	digit = open + 1;
	if (*digit == '-' || *digit == '+')
		digit++;
	if (digit == s + len - 1)
		return false;
	for (; digit < s + len - 1; digit++)
	{
		if (*digit < '0' || *digit > '9')
			return false;
		n = n * 10 + (*digit - '0');
		if (n > PG_INT32_MAX)
			return false;
	}
	result->n = open[1] == '-' ? -n : n;
	return true;
}

/* First and last day of the block n blocks from the one that holds the day. */
static bool
block_days(DateADT day, int months, DateADT starts_on, int64 n, DateADT *first, DateADT *last)
{
	int			year;
	int			month;
	int			start_year;
	int			start_month;
	int			ignored;
	int64		block;
	int64		passed;
	DateADT		begin;
	DateADT		end;

	if (!segment_date_parts(day, &year, &month, &ignored) ||
		!segment_date_parts(starts_on, &start_year, &start_month, &ignored))
		return false;
	passed = (int64) (year - start_year) * MONTHS_PER_YEAR + month - start_month;
	block = passed / months - (passed % months < 0 ? 1 : 0);

	/* in the first days of its first month the block before still runs */
	if (!add_months(starts_on, block * months, &begin))
		return false;
	if (begin > day)
		block--;
	if (!add_months(starts_on, (block + n) * months, &begin) ||
		!add_months(starts_on, (block + n + 1) * months, &end))
		return false;
	*first = begin;
	*last = end - 1;
	return true;
}

static bool
week_days(DateADT day, int64 n, DateADT *first, DateADT *last)
{
	DateADT		monday;
	DateADT		sunday;
	int			since_monday;

	if (!is_finite_day(day))
		return false;
	since_monday = (j2day(day + POSTGRES_EPOCH_JDATE) + 6) % 7;
	if (!checked_day((int64) day - since_monday + n * 7, &monday) ||
		!checked_day((int64) monday + 6, &sunday))
		return false;
	*first = monday;
	*last = sunday;
	return true;
}

static bool
shifted_period_days(DateADT day, const Period *period, int64 n, DateADT *first, DateADT *last)
{
	switch (period->unit)
	{
		case PERIOD_WEEK:
			return week_days(day, n, first, last);
		case PERIOD_BLOCK:
			if (period->months < 1 || period->months > MONTHS_PER_YEAR ||
				MONTHS_PER_YEAR % period->months != 0)
				return false;
			return block_days(day, period->months, period->starts_on, n, first, last);
		default:
			return block_days(day, units[period->unit].months, BLOCKS_FROM_JANUARY, n, first, last);
	}
}

/* First and last day of a period, seen from a day. */
bool
segment_period_days(DateADT today, const Period *period, DateADT *first, DateADT *last)
{
	return shifted_period_days(today, period, period->n, first, last);
}

/*
 * The next day after today on which "day DURING period" begins or ceases to
 * hold; false where it never changes again.  It holds while today is in the
 * period that lies as far before the day's own as the condition asks.
 */
bool
segment_during_changes(DateADT day, const Period *period, DateADT today, DateADT *result)
{
	DateADT		first;
	DateADT		last;

	if (!is_finite_day(today) ||
		!shifted_period_days(day, period, -(int64) period->n, &first, &last) || last < today)
		return false;
	*result = first > today ? first : last + 1;
	return true;
}

/* ---- birthdays ---- */

/*
 * The anniversary of a day of the year; 29 February falls on the 28th in other
 * years.  False where no year has such a day.
 */
bool
segment_anniversary_in(int month, int day, int year, DateADT *result)
{
	if (month < 1 || month > MONTHS_PER_YEAR || day < 1 || day > day_tab[1][month - 1])
		return false;
	return day_in_month(year, month, day, result);
}

bool
segment_birthday_in(DateADT birth, int year, DateADT *result)
{
	int			birth_year;
	int			month;
	int			day;

	return segment_date_parts(birth, &birth_year, &month, &day) &&
		segment_anniversary_in(month, day, year, result);
}

/* The first anniversary after today. */
bool
segment_next_anniversary(int month, int day, DateADT today, DateADT *result)
{
	int			year;
	int			ignored;
	DateADT		anniversary;

	if (!segment_date_parts(today, &year, &ignored, &ignored) ||
		!segment_anniversary_in(month, day, year, &anniversary))
		return false;
	if (anniversary <= today && !segment_anniversary_in(month, day, year + 1, &anniversary))
		return false;
	*result = anniversary;
	return true;
}

/*
 * Whether an anniversary falls on a day from "from" to "to", both included.
 * Where "to" is the earlier one it stands for its own next anniversary: from
 * 20 December to 10 January goes over the year's end.
 */
bool
segment_anniversary_between(int month, int day, DateADT from, DateADT to, bool *result)
{
	DateADT		anniversary;
	int			ignored;
	int			to_month;
	int			to_day;

	if (!is_finite_day(from) || !segment_date_parts(to, &ignored, &to_month, &to_day) ||
		!segment_next_anniversary(month, day, from - 1, &anniversary))
		return false;
	if (to < from && !segment_next_anniversary(to_month, to_day, from - 1, &to))
		return false;
	*result = anniversary <= to;
	return true;
}

/*
 * The next day after today on which "anniversary BETWEEN today + from AND
 * today + to" begins or ceases to hold for this day of the year, or an earlier
 * one on which nothing changes.  It begins when "to" reaches an anniversary and
 * ceases when "from" has passed one.
 */
bool
segment_anniversary_changes(int month, int day, DayOffset from, DayOffset to,
							DateADT today, DateADT *result)
{
	const DayOffset ends[2] = {to, from};
	DateADT		next = DATEVAL_NOEND;

	for (int i = 0; i < lengthof(ends); i++)
	{
		DateADT		end;
		DateADT		anniversary;
		DateADT		changes;
		int			passed = i; /* "from" lets go of it a day later */

		if (!segment_offset_day(today, ends[i], &end) ||
			!segment_next_anniversary(month, day, end - passed, &anniversary) ||
			!segment_first_day_reaching(anniversary + passed, ends[i], &changes))
			return false;
		next = Min(next, changes);
	}
	*result = next;
	return true;
}

/* Whole years lived; unknown for whoever is not born yet. */
bool
segment_age_on(DateADT birth, DateADT today, int32 *result)
{
	int			birth_year;
	int			year;
	int			ignored;
	DateADT		birthday;

	if (!segment_date_parts(birth, &birth_year, &ignored, &ignored) ||
		!segment_date_parts(today, &year, &ignored, &ignored) ||
		birth > today || !segment_birthday_in(birth, year, &birthday))
		return false;
	*result = year - birth_year - (birthday > today ? 1 : 0);
	return true;
}

/* The day on which an age is reached. */
bool
segment_age_reached_on(DateADT birth, int32 age, DateADT *result)
{
	int			year;
	int			month;
	int			day;

	return segment_date_parts(birth, &year, &month, &day) &&
		day_in_month((int64) year + age, month, day, result);
}

/* ---- to SQL, for tests ---- */

static pg_tz *
zone_argument(FunctionCallInfo fcinfo, int argument)
{
	char		name[TZ_STRLEN_MAX + 1];
	pg_tz	   *zone;

	text_to_cstring_buffer(PG_GETARG_TEXT_PP(argument), name, sizeof(name));
	zone = pg_tzset(name);
	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" does not exist", name),
				 errhint("Take a name from pg_timezone_names.")));
	return zone;
}

static DayOffset
offset_argument(FunctionCallInfo fcinfo, int argument)
{
	text	   *t = PG_GETARG_TEXT_PP(argument);
	DayOffset	offset;

	if (!segment_parse_offset(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), &offset))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not an offset", text_to_cstring(t)),
				 errhint("Write it like -30d, +2w, -1m or +1y.")));
	return offset;
}

static Period
period_argument(FunctionCallInfo fcinfo, int argument)
{
	text	   *t = PG_GETARG_TEXT_PP(argument);
	Period		period;

	if (!segment_parse_period(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), &period))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a period", text_to_cstring(t)),
				 errhint("Write it like this_month, last_week or quarter(-2).")));
	period.months = PG_GETARG_INT32(argument + 1);
	period.starts_on = PG_GETARG_DATEADT(argument + 2);
	return period;
}

static Datum
date_or_null(FunctionCallInfo fcinfo, bool known, DateADT day)
{
	if (!known)
		PG_RETURN_NULL();
	PG_RETURN_DATEADT(day);
}

Datum
segment_day_of(PG_FUNCTION_ARGS)
{
	DateADT		day = 0;
	bool		known = segment_day_of_instant(PG_GETARG_TIMESTAMPTZ(0), zone_argument(fcinfo, 1), &day);

	return date_or_null(fcinfo, known, day);
}

Datum
segment_begin_of_day(PG_FUNCTION_ARGS)
{
	TimestampTz at;

	if (!segment_day_begins_at(PG_GETARG_DATEADT(0), zone_argument(fcinfo, 1), &at))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(at);
}

Datum
segment_add_offset(PG_FUNCTION_ARGS)
{
	DateADT		day = 0;
	bool		known = segment_offset_day(PG_GETARG_DATEADT(0), offset_argument(fcinfo, 1), &day);

	return date_or_null(fcinfo, known, day);
}

Datum
segment_day_reaching(PG_FUNCTION_ARGS)
{
	DateADT		day = 0;
	bool		known = segment_first_day_reaching(PG_GETARG_DATEADT(0), offset_argument(fcinfo, 1), &day);

	return date_or_null(fcinfo, known, day);
}

/* First and last day, as an array of the two. */
Datum
segment_period(PG_FUNCTION_ARGS)
{
	Period		period = period_argument(fcinfo, 1);
	DateADT		first;
	DateADT		last;
	Datum		days[2];

	if (!segment_period_days(PG_GETARG_DATEADT(0), &period, &first, &last))
		PG_RETURN_NULL();
	days[0] = DateADTGetDatum(first);
	days[1] = DateADTGetDatum(last);
	PG_RETURN_ARRAYTYPE_P(construct_array(days, 2, DATEOID, sizeof(DateADT), true, TYPALIGN_INT));
}

Datum
segment_during_change(PG_FUNCTION_ARGS)
{
	Period		period = period_argument(fcinfo, 1);
	DateADT		day = 0;
	bool		known = segment_during_changes(PG_GETARG_DATEADT(0), &period, PG_GETARG_DATEADT(4), &day);

	return date_or_null(fcinfo, known, day);
}

Datum
segment_age(PG_FUNCTION_ARGS)
{
	int32		age;

	if (!segment_age_on(PG_GETARG_DATEADT(0), PG_GETARG_DATEADT(1), &age))
		PG_RETURN_NULL();
	PG_RETURN_INT32(age);
}

Datum
segment_anniversary(PG_FUNCTION_ARGS)
{
	DateADT		day = 0;
	bool		known = segment_birthday_in(PG_GETARG_DATEADT(0), PG_GETARG_INT32(1), &day);

	return date_or_null(fcinfo, known, day);
}

Datum
segment_anniversary_is_between(PG_FUNCTION_ARGS)
{
	int			ignored;
	int			month;
	int			day;
	bool		result;

	if (!segment_date_parts(PG_GETARG_DATEADT(0), &ignored, &month, &day) ||
		!segment_anniversary_between(month, day, PG_GETARG_DATEADT(1), PG_GETARG_DATEADT(2), &result))
		PG_RETURN_NULL();
	PG_RETURN_BOOL(result);
}

Datum
segment_anniversary_change(PG_FUNCTION_ARGS)
{
	int			ignored;
	int			month;
	int			day;
	DateADT		changes;

	if (!segment_date_parts(PG_GETARG_DATEADT(0), &ignored, &month, &day) ||
		!segment_anniversary_changes(month, day, offset_argument(fcinfo, 1), offset_argument(fcinfo, 2),
									 PG_GETARG_DATEADT(3), &changes))
		PG_RETURN_NULL();
	PG_RETURN_DATEADT(changes);
}
