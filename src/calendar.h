/*
 * calendar.h
 *		Days of the shop: pure.
 *
 * A day is a DateADT, the clock a TimestampTz, the shop's zone a pg_tz.
 * Functions that return bool answer false for "unknown": something infinite or
 * no date of the calendar came in, or what would come out lies beyond the last
 * day that a date can hold.  They never raise, and leave *result alone then.
 */
#ifndef SEGMENT_CALENDAR_H
#define SEGMENT_CALENDAR_H

#include "segment.h"

#include "pgtime.h"
#include "utils/date.h"

/* +7d, -1m ...: from a day to another */
typedef struct DayOffset
{
	int32		n;
	char		unit;			/* 'd', 'w', 'm' or 'y' */
} DayOffset;

typedef enum PeriodUnit
{
	PERIOD_WEEK,				/* Monday to Sunday */
	PERIOD_MONTH,
	PERIOD_QUARTER,
	PERIOD_HALF_YEAR,
	PERIOD_YEAR,
	PERIOD_BLOCK				/* a ladder's own: so many months from a start */
} PeriodUnit;

/* n periods from the one that a day is in: this 0, last -1, next 1 */
typedef struct Period
{
	PeriodUnit	unit;
	int32		n;
	int32		months;			/* PERIOD_BLOCK: 1, 2, 3, 4, 6 or 12 */
	DateADT		starts_on;		/* PERIOD_BLOCK: first day of some block */
} Period;

/* a first of January: blocks that start on it fill calendar years */
#define BLOCKS_FROM_JANUARY		((DateADT) 0)

/* instants and days */
extern bool segment_day_of_instant(TimestampTz at, pg_tz *zone, DateADT *result);
extern bool segment_days_come_again(pg_tz *zone);
extern bool segment_day_begins_at(DateADT day, pg_tz *zone, TimestampTz *result);

/* offsets */
extern bool segment_parse_offset(const char *s, int len, DayOffset *result);
extern bool segment_offset_day(DateADT day, DayOffset offset, DateADT *result);
extern bool segment_first_day_reaching(DateADT target, DayOffset offset, DateADT *result);

/* periods */
extern bool segment_parse_period(const char *s, int len, Period *result);
extern bool segment_period_days(DateADT today, const Period *period, DateADT *first, DateADT *last);
extern bool segment_during_changes(DateADT day, const Period *period, DateADT today, DateADT *result);

/* birthdays */
extern bool segment_anniversary_in(int month, int day, int year, DateADT *result);
extern bool segment_birthday_in(DateADT birth, int year, DateADT *result);
extern bool segment_next_anniversary(int month, int day, DateADT today, DateADT *result);
extern bool segment_anniversary_between(int month, int day, DateADT from, DateADT to, bool *result);
extern bool segment_anniversary_changes(int month, int day, DayOffset from, DayOffset to,
										DateADT today, DateADT *result);
extern bool segment_age_on(DateADT birth, DateADT today, int32 *result);
extern bool segment_age_reached_on(DateADT birth, int32 age, DateADT *result);
extern bool segment_date_parts(DateADT date, int *year, int *month, int *day);

#endif							/* SEGMENT_CALENDAR_H */
