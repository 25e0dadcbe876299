/*
 * condition_change.c
 *		When a condition may change by time alone: pure.
 *
 * Time moves a verdict through a clause whose bounds are seen from today, and
 * through a figure whose value moves.  For a clause there are days on which its
 * verdict can change, and none between them (candidates); they are gone through
 * until one is found on which the verdict is another one.  Asking on a day that
 * has not come is the same as asking today: see condition_eval.c.
 *
 * Where a condition is put together from others, the ones that decide its
 * verdict now are those that can change it: all parts of an AND that holds, and
 * of one that does not the last to turn among the parts that do not.
 */
#include "segment.h"

#include "condition_change.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

/* candidates that are tried before one is told without need: a year of days and a bit */
#define MAX_CANDIDATES		400

/* leap years, and what is next to them, come round in so many years even where one is left out */
#define YEARS_WITH_ALL_KINDS	8

/* more days, or years, than the clock can show */
#define BEYOND_THE_CLOCK	INT64CONST(200000000)

#define NO_NUMBER			PG_INT64_MAX

/* a clause over one date or number, apart from its condition, to be asked on other days */
typedef struct LoneClause
{
	BoundNode	node;
	BoundFigure figure;
	BoundFigure other;			/* where it is compared with one */
	FigureValue values[2];		/* of the two */
	DateADT		day;			/* of a date */
	const Shop *shop;
	bool		decidable;		/* the value is known well enough to be judged */
	bool		holds;			/* today */
} LoneClause;

/* what verdicts are looked ahead from */
typedef struct Prospect
{
	const FigureValue *figures;
	const Shop *shop;
	const Bound *bound;			/* NULL: groups change with the figure "groups" */
	const TimestampTz *groups;	/* when the verdict of each group of it may change */
} Prospect;

/* what a part of a condition says, and until when it surely does */
typedef struct Outlook
{
	bool		holds;
	TimestampTz changes;
} Outlook;

/*
 * One clause on another day.
 */

static void
set_apart(LoneClause *lone, const BoundNode *clause, const Shop *shop)
{
	static const Word date_word = {WORD_CUSTOM, "date", VALUE_DATE, NARROW_NOT, 0, NULL, NULL, NULL};

	memset(lone, 0, sizeof(LoneClause));
	lone->node = *clause;
	if (clause->figure != NULL)
		lone->figure = *clause->figure;
	else
	{
		lone->figure.word = &date_word;		/* a field of an event */
		lone->figure.type = VALUE_DATE;
	}
	lone->figure.slot = 0;
	lone->node.figure = &lone->figure;
	if (clause->other != NULL)
	{
		lone->other = *clause->other;
		lone->other.slot = 1;
		lone->node.other = &lone->other;
	}
	lone->shop = shop;
	lone->decidable = true;
}

static bool
holds_on(const LoneClause *lone, DateADT today)
{
	Shop		then = *lone->shop;

	then.today = today;
	return segment_condition_holds(&lone->node, lone->values, &then);
}

/* The earlier of two days, of which the new one counts only after a day. */
static DateADT
earlier(DateADT next, DateADT candidate, DateADT after)
{
	return candidate > after && candidate < next ? candidate : next;
}

/*
 * Values of dates.
 */

/* Whether a value is another day tomorrow; as an offset from today. */
static bool
moving_offset(const BoundValue *value, DayOffset *offset)
{
	if (value->kind == CONDITION_OFFSET)
	{
		*offset = value->offset;
		return true;
	}
	offset->n = (int32) value->number;
	offset->unit = 'd';
	return value->kind == CONDITION_DAY;
}

static bool
has_value_of(const BoundNode *clause, ConditionKind kind)
{
	ListCell   *cell;

	foreach(cell, clause->values)
	{
		if (((BoundValue *) lfirst(cell))->kind == kind)
			return true;
	}
	return false;
}

static bool
has_moving_value(const BoundNode *clause)
{
	return has_value_of(clause, CONDITION_OFFSET) || has_value_of(clause, CONDITION_DAY);
}

/*
 * Whether time alone can change the verdict of a clause over a date.  An
 * anniversary moves even where all its dates are given: 29 February is not in
 * every year.
 */
bool
segment_clause_moves(const BoundNode *clause)
{
	if (clause->other != NULL || clause->kind == CONDITION_IS_NULL)
		return false;
	return clause->anniversary || clause->kind == CONDITION_DURING || has_moving_value(clause);
}

/* A day is passed by a moving value twice: when that reaches it, and when it leaves it behind. */
static DateADT
next_passing(const LoneClause *lone, DateADT after)
{
	DateADT		next = DATEVAL_NOEND;
	ListCell   *cell;

	if (lone->node.kind == CONDITION_DURING)
	{
		if (segment_during_changes(lone->day, &lone->node.period, after, &next))
			return next;
		return DATEVAL_NOEND;
	}
	foreach(cell, lone->node.values)
	{
		DayOffset	offset;
		DateADT		day;

		if (!moving_offset(lfirst(cell), &offset))
			continue;
		/* unknown: beyond the calendar, so long ago or never */
		if (segment_first_day_reaching(lone->day, offset, &day))
			next = earlier(next, day, after);
		if (segment_first_day_reaching(lone->day + 1, offset, &day))
			next = earlier(next, day, after);
	}
	return next;
}

/*
 * Anniversaries.
 */

/* The first of January after a day. */
static bool
next_new_year(DateADT after, DateADT *result)
{
	return segment_next_anniversary(1, 1, after, result);
}

/*
 * Whether a window between two offsets never ends before it begins, wherever it
 * is seen from.  Months and days together may change places: -1m and -30d do.
 */
static bool
always_ascends(DayOffset from, DayOffset to)
{
	bool		from_days = from.unit == 'd' || from.unit == 'w';
	bool		to_days = to.unit == 'd' || to.unit == 'w';
	int64		from_n = (int64) from.n * (from.unit == 'w' ? 7 : from.unit == 'y' ? MONTHS_PER_YEAR : 1);
	int64		to_n = (int64) to.n * (to.unit == 'w' ? 7 : to.unit == 'y' ? MONTHS_PER_YEAR : 1);

	if (from_days == to_days)
		return from_n <= to_n;
	return from_n <= 0 && to_n >= 0;
}

/* anniversary(...) = and IN: each value lets go of one anniversary and reaches the next. */
static DateADT
next_of_values(const LoneClause *lone, int month, int day, DateADT after)
{
	DateADT		next = DATEVAL_NOEND;
	ListCell   *cell;

	foreach(cell, lone->node.values)
	{
		DayOffset	offset;
		DateADT		candidate;
		bool		known = moving_offset(lfirst(cell), &offset)
			? segment_anniversary_changes(month, day, offset, offset, after, &candidate)
			: next_new_year(after, &candidate);

		next = Min(next, known ? candidate : after + 1);
	}
	return next;
}

/* anniversary(...) < and its like: an anniversary is compared with a day of the same year. */
static DateADT
next_of_order(const LoneClause *lone, int month, int day, DateADT after)
{
	DateADT		next = DATEVAL_NOEND;
	DateADT		bound;
	DateADT		targets[3];
	DayOffset	offset;
	int			year,
				ignored;

	if (!moving_offset(linitial(lone->node.values), &offset) ||
		!segment_offset_day(after, offset, &bound) ||
		!segment_date_parts(bound, &year, &ignored, &ignored) ||
		!segment_anniversary_in(month, day, year, &targets[0]) ||
		!next_new_year(bound, &targets[2]))
		return after + 1;
	targets[1] = targets[0] + 1;
	for (int i = 0; i < lengthof(targets); i++)
	{
		DateADT		candidate;

		if (!segment_first_day_reaching(targets[i], offset, &candidate))
			return after + 1;
		next = earlier(next, candidate, after);
	}
	return next;
}

static DateADT
next_of_window(const LoneClause *lone, int month, int day, DateADT after)
{
	DayOffset	from,
				to;
	DateADT		next;

	if (moving_offset(linitial(lone->node.values), &from) && moving_offset(lsecond(lone->node.values), &to) &&
		always_ascends(from, to) && segment_anniversary_changes(month, day, from, to, after, &next))
		return next;
	return after + 1;
}

static DateADT
next_of_anniversary(const LoneClause *lone, DateADT after)
{
	Period		this_period = lone->node.period;
	DateADT		first,
				last;
	int			year,
				month,
				day;

	if (!segment_date_parts(lone->day, &year, &month, &day))
		return after + 1;
	switch (lone->node.kind)
	{
		case CONDITION_DURING:
			this_period.n = 0;
			return segment_period_days(after, &this_period, &first, &last) ? last + 1 : after + 1;
		case CONDITION_BETWEEN:
			return next_of_window(lone, month, day, after);
		case CONDITION_IN:
			return next_of_values(lone, month, day, after);
		default:
			if (lone->node.detail == CONDITION_EQ || lone->node.detail == CONDITION_NE)
				return next_of_values(lone, month, day, after);
			return next_of_order(lone, month, day, after);
	}
}

/* With all dates given, an anniversary depends on whether this year and the next are leap years. */
static DateADT
change_of_leap_years(const LoneClause *lone)
{
	DateADT		day = lone->shop->today;

	for (int i = 0; i < YEARS_WITH_ALL_KINDS; i++)
	{
		if (!next_new_year(day, &day))
			return lone->shop->today + 1;
		if (holds_on(lone, day) != lone->holds)
			return day;
	}
	return DATEVAL_NOEND;
}

/*
 * Dates.
 */

/* Whether a clause on an anniversary holds for ever: every calendar year has every anniversary. */
static bool
is_any_year(const LoneClause *lone)
{
	return lone->node.kind == CONDITION_DURING && lone->node.period.unit == PERIOD_YEAR &&
		lone->holds != lone->node.negated && lone->node.period.n < 1000000;
}

/* The first day after today on which the verdict is another one, or an earlier one. */
static DateADT
change_of_date(LoneClause *lone)
{
	DateADT		day = lone->shop->today;

	if (DATE_NOT_FINITE(lone->day) || !segment_clause_moves(&lone->node))
		return DATEVAL_NOEND;
	if (lone->decidable)
		lone->holds = holds_on(lone, day);
	if (lone->node.anniversary)
	{
		if (is_any_year(lone))
			return DATEVAL_NOEND;
		if (lone->node.kind != CONDITION_DURING && !has_moving_value(&lone->node))
			return change_of_leap_years(lone);
	}
	for (int i = 0; i < MAX_CANDIDATES; i++)
	{
		day = lone->node.anniversary ? next_of_anniversary(lone, day) : next_passing(lone, day);
		if (day == DATEVAL_NOEND || !lone->decidable || holds_on(lone, day) != lone->holds)
			break;
	}
	return day;
}

/*
 * The first day after the shop's today on which a clause over a date has another
 * verdict on "day" than today, or an earlier one; DATEVAL_NOEND: never.  The
 * clause is about a figure or about a field of an event.
 */
DateADT
segment_date_clause_change(const BoundNode *clause, DateADT day, const Shop *shop)
{
	LoneClause	lone;

	set_apart(&lone, clause, shop);
	lone.figure.instant = lone.node.instant = false;
	lone.values[0].date = lone.day = day;
	lone.decidable = !has_value_of(clause, CONDITION_DATETIME);	/* the day alone does not tell */
	return change_of_date(&lone);
}

/* The same for a figure, of which more than the day is known. */
static DateADT
date_figure_change(const BoundNode *clause, const FigureValue *value, const Shop *shop)
{
	LoneClause	lone;
	DateADT		day = value->date;

	if (clause->figure->instant && !segment_day_of_instant(value->instant, shop->zone, &day))
		return DATEVAL_NOEND;	/* not of this calendar: never true of any day */
	if (!clause->figure->instant || !has_value_of(clause, CONDITION_DATETIME))
		return segment_date_clause_change(clause, day, shop);
	set_apart(&lone, clause, shop);
	lone.values[0] = *value;
	lone.day = day;
	return change_of_date(&lone);
}

/*
 * Instants.
 */

/* The first instant of a day to come; DT_NOEND where no clock can show it. */
static TimestampTz
begin_of(DateADT day, const Shop *shop)
{
	TimestampTz result;

	if (DATE_NOT_FINITE(day) || !segment_day_begins_at(day, shop->zone, &result))
		return DT_NOEND;
	return result;
}

static TimestampTz
next_midnight(const Shop *shop)
{
	return begin_of(shop->today + 1, shop);
}

/* When the value of a figure may change by time alone. */
static TimestampTz
figure_change(const BoundFigure *figure, const FigureValue *figures, const Shop *shop)
{
	const FigureValue *value = &figures[figure->slot];

	switch (figure->word->id)
	{
		case WORD_TIER:
			return figure_change(figure->base, figures, shop);
		case WORD_DAYS_SINCE_LAST_ORDER:
			return value->isnull ? DT_NOEND : next_midnight(shop);
		default:
			/* what is past by now was not known any better */
			return value->next_change > shop->at ? value->next_change : next_midnight(shop);
	}
}

/*
 * Numbers that go up one by one.
 */

static bool
number_below(int64 a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(int64_to_numeric(a)), NumericGetDatum(b))) < 0;
}

static int64
whole_number(Numeric number)
{
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(number)));
}

static Numeric
read_number(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* The numbers with which a clause compares its figure, or the one that moves with the one that does not. */
static List *
compared_with(const BoundNode *clause, const FigureValue *figures, const BoundFigure *moving)
{
	List	   *numbers = NIL;
	ListCell   *cell;

	if (clause->other != NULL)
	{
		Numeric		number = figures[moving == clause->other ? clause->figure->slot : clause->other->slot].number;

		if (clause->factor != NULL)
			number = DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(read_number(clause->factor)),
														 NumericGetDatum(number)));
		return list_make1(number);
	}
	foreach(cell, clause->values)
		numbers = lappend(numbers, read_number(((BoundValue *) lfirst(cell))->text));
	return numbers;
}

/*
 * The next number above the moving figure's for which a clause has another
 * verdict, NO_NUMBER where there is none.  That can only be the first that is
 * not below what it is compared with, or the first above.
 */
static int64
next_number(const BoundNode *clause, const FigureValue *figures, const BoundFigure *moving, const Shop *shop)
{
	LoneClause	lone;
	int64		now = whole_number(figures[moving->slot].number);
	int64		next = NO_NUMBER;
	bool		holds;
	ListCell   *cell;

	set_apart(&lone, clause, shop);
	lone.values[0] = figures[clause->figure->slot];
	if (clause->other != NULL)
		lone.values[1] = figures[clause->other->slot];
	holds = holds_on(&lone, shop->today);
	foreach(cell, compared_with(clause, figures, moving))
	{
		Numeric		number = lfirst(cell);
		int64		candidates[2];

		if (!number_below(now - 1, number) || number_below(BEYOND_THE_CLOCK, number))
			continue;			/* behind us, or never reached */
		candidates[0] = whole_number(DatumGetNumeric(DirectFunctionCall1(numeric_ceil, NumericGetDatum(number))));
		candidates[1] = whole_number(DatumGetNumeric(DirectFunctionCall1(numeric_floor, NumericGetDatum(number)))) + 1;
		for (int i = 0; i < lengthof(candidates); i++)
		{
			if (candidates[i] <= now || candidates[i] >= next)
				continue;
			lone.values[moving == clause->other ? 1 : 0].number = int64_to_numeric(candidates[i]);
			if (holds_on(&lone, shop->today) != holds)
				next = candidates[i];
		}
	}
	return next;
}

static TimestampTz
days_since_change(const BoundNode *clause, const FigureValue *figures, const BoundFigure *moving, const Shop *shop)
{
	int64		next = next_number(clause, figures, moving, shop);
	int64		day;

	if (next == NO_NUMBER)
		return DT_NOEND;
	day = shop->today + next - whole_number(figures[moving->slot].number);
	return day < BEYOND_THE_CLOCK ? begin_of((DateADT) day, shop) : DT_NOEND;
}

/*
 * Of an age only its next birthday is known; those that follow fall on the same
 * day of the year, or for 29 February a day later than is told here.
 */
static TimestampTz
age_change(const BoundNode *clause, const FigureValue *figures, TimestampTz next_birthday, const Shop *shop)
{
	int64		next = next_number(clause, figures, clause->figure, shop);
	int64		years;
	DateADT		birthday;
	TimestampTz day_before;
	int			year,
				month,
				day;

	if (next == NO_NUMBER)
		return DT_NOEND;
	years = next - whole_number(figures[clause->figure->slot].number) - 1;
	if (years == 0 || TIMESTAMP_NOT_FINITE(next_birthday) ||
		!segment_day_of_instant(next_birthday, shop->zone, &birthday))
		return next_birthday;
	/* a day that was left out of the calendar begins together with the one after */
	if (segment_day_begins_at(birthday - 1, shop->zone, &day_before) && day_before == next_birthday)
		birthday--;
	if (!segment_date_parts(birthday, &year, &month, &day) || year + years > JULIAN_MAXYEAR ||
		!segment_anniversary_in(month, day, (int) (year + years), &birthday))
		return DT_NOEND;
	return begin_of(birthday, shop);
}

/*
 * Clauses.
 */

/* Two figures: days since an order grow into a number, which may itself move. */
static TimestampTz
change_of_two(const BoundNode *clause, const FigureValue *figures, const Shop *shop)
{
	const BoundFigure *pair[2] = {clause->figure, clause->other};
	TimestampTz changes[2];

	for (int i = 0; i < 2; i++)
		changes[i] = figure_change(pair[i], figures, shop);
	for (int i = 0; i < 2; i++)
	{
		if (pair[i]->word->id == WORD_DAYS_SINCE_LAST_ORDER && pair[1 - i]->word->id != WORD_DAYS_SINCE_LAST_ORDER &&
			(i == 0 || clause->factor == NULL) && clause->type == VALUE_NUMBER &&
			!figures[pair[0]->slot].isnull && !figures[pair[1]->slot].isnull)
			changes[i] = days_since_change(clause, figures, pair[i], shop);
	}
	return Min(changes[0], changes[1]);
}

static TimestampTz
clause_change(const Prospect *prospect, const BoundNode *clause)
{
	const FigureValue *figures = prospect->figures;
	const Shop *shop = prospect->shop;
	const BoundFigure *figure = clause->figure;
	const FigureValue *value = &figures[figure->slot];
	TimestampTz changes = figure_change(figure, figures, shop);

	if (clause->other != NULL)
		return change_of_two(clause, figures, shop);
	if (value->isnull || figure->word->id == WORD_TIER)
		return changes;
	switch (figure->word->id)
	{
		case WORD_AGE:
			/* known once born, and for ever */
			return clause->kind == CONDITION_IS_NULL ? DT_NOEND : age_change(clause, figures, changes, shop);
		case WORD_DAYS_SINCE_LAST_ORDER:
			return clause->kind == CONDITION_IS_NULL ? DT_NOEND : days_since_change(clause, figures, figure, shop);
		default:
			if (clause->type == VALUE_DATE && segment_clause_moves(clause))
				return Min(changes, begin_of(date_figure_change(clause, value, shop), shop));
			return changes;
	}
}

static Outlook outlook_of(const Prospect *prospect, const BoundNode *node);

/*
 * Parts put together by AND or OR.  AND stands as long as all parts do, and
 * falls short as long as one does; OR the other way round.
 */
typedef struct Combination
{
	bool		decisive;		/* the verdict of a part that decides alone */
	bool		decided;
	TimestampTz first;			/* change of all parts */
	TimestampTz last_decisive;
} Combination;

static void
add_part(Combination *combination, Outlook part)
{
	combination->first = Min(combination->first, part.changes);
	if (part.holds != combination->decisive)
		return;
	combination->decided = true;
	combination->last_decisive = Max(combination->last_decisive, part.changes);
}

static Outlook
outlook_together(const Combination *combination)
{
	return (Outlook) {combination->decided == combination->decisive,
		combination->decided ? combination->last_decisive : combination->first};
}

static Outlook
combined(const Prospect *prospect, const BoundNode *node)
{
	Combination combination = {.decisive = node->kind == CONDITION_OR, .first = DT_NOEND, .last_decisive = DT_NOBEGIN};
	ListCell   *cell;

	foreach(cell, node->children)
		add_part(&combination, outlook_of(prospect, lfirst(cell)));
	return outlook_together(&combination);
}

/* A group: whether the customer is in it is in the figure "groups". */
static Outlook
outlook_of_group(const Prospect *prospect, const BoundNode *clause, int group)
{
	const FigureValue *groups = &prospect->figures[clause->figure->slot];
	Outlook		result = {false, prospect->groups[group]};

	for (int i = 0; i < groups->nelements && !result.holds; i++)
		result.holds = strcmp(groups->elements[i], prospect->bound->groups[group]->code) == 0;
	return result;
}

/* A clause over groups joins those that it names; IS NULL, all that there are. */
static TimestampTz
change_of_groups(const Prospect *prospect, const BoundNode *clause)
{
	bool		all = clause->kind == CONDITION_CONTAINS && clause->detail == CONDITION_ALL;
	Combination combination = {.decisive = !all, .first = DT_NOEND, .last_decisive = DT_NOBEGIN};

	for (int i = 0; i < prospect->bound->ngroups; i++)
	{
		bool		named = clause->kind == CONDITION_IS_NULL;
		ListCell   *cell;

		foreach(cell, clause->values)
			named |= strcmp(((BoundValue *) lfirst(cell))->text, prospect->bound->groups[i]->code) == 0;
		if (named)
			add_part(&combination, outlook_of_group(prospect, clause, i));
	}
	return outlook_together(&combination).changes;
}

static Outlook
outlook_of(const Prospect *prospect, const BoundNode *node)
{
	Outlook		result;

	check_stack_depth();
	switch (node->kind)
	{
		case CONDITION_TRUE:
		case CONDITION_FALSE:
			return (Outlook) {node->kind == CONDITION_TRUE, DT_NOEND};
		case CONDITION_NOT:
			result = outlook_of(prospect, linitial(node->children));
			result.holds = !result.holds;
			return result;
		case CONDITION_AND:
		case CONDITION_OR:
			return combined(prospect, node);
		default:
			result.holds = segment_condition_holds(node, prospect->figures, prospect->shop);
			result.changes = prospect->bound != NULL && node->figure->word->id == WORD_GROUPS
				? change_of_groups(prospect, node) : clause_change(prospect, node);
			return result;
	}
}

/*
 * The earliest instant after the shop's at which a condition may have another
 * verdict by time alone, for a customer with these figures; DT_NOEND: never.
 * Allocates in the current context, which the caller resets.
 */
TimestampTz
segment_condition_change(const BoundNode *root, const FigureValue *figures, const Shop *shop)
{
	Prospect	prospect = {.figures = figures, .shop = shop};

	return outlook_of(&prospect, root).changes;
}

/*
 * When the verdict of each group may change, by group, given the figure "groups"
 * as segment_judge_groups() fills it.  People alone fill fixed groups.
 */
void
segment_groups_change(const Bound *bound, const FigureValue *figures, const Shop *shop, TimestampTz *changes)
{
	Prospect	prospect = {.figures = figures, .shop = shop, .bound = bound, .groups = changes};

	for (int i = 0; i < bound->ngroups; i++)
	{
		const BoundNode *root = bound->groups[i]->root;

		changes[i] = root != NULL ? outlook_of(&prospect, root).changes : DT_NOEND;
	}
}

/* segment_condition_change(), where clauses over groups change with those that they name. */
TimestampTz
segment_condition_change_with(const Bound *bound, const TimestampTz *groups, const BoundNode *root,
							  const FigureValue *figures, const Shop *shop)
{
	Prospect	prospect = {.figures = figures, .shop = shop, .bound = bound, .groups = groups};

	return outlook_of(&prospect, root).changes;
}
