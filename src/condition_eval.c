/*
 * condition_eval.c
 *		Whether a condition holds: pure.
 *
 * A bound condition, a vector of figures and the shop's clock go in, true or
 * false comes out.  No table, no setting, no clock of the server is read, and
 * nothing can raise over what is in the figures.
 *
 * Every clause is two-valued: on a missing value it does not hold, and a
 * negative is the exact complement of its positive.
 */
#include "segment.h"

#include "catalog/pg_type.h"
#include "condition_eval.h"
#include "miscadmin.h"
#include "text_fold.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"

typedef struct Evaluation
{
	const FigureValue *figures;
	const Shop *shop;
} Evaluation;

static bool holds(const Evaluation *evaluation, const BoundNode *node);

/* Whether an order of two values satisfies a comparison. */
static bool
satisfies(uint8 operator, int order)
{
	switch (operator)
	{
		case CONDITION_LT:
			return order < 0;
		case CONDITION_LE:
			return order <= 0;
		case CONDITION_GT:
			return order > 0;
		case CONDITION_GE:
			return order >= 0;
		default:
			return order == 0;	/* != is negated by the caller */
	}
}

/*
 * Numbers.
 */

static Numeric
read_number(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static int
compare_numbers(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static int
compare_with(Numeric number, const BoundValue *value)
{
	return compare_numbers(number, read_number(value->text));
}

static bool
number_holds(const BoundNode *node, Numeric number)
{
	ListCell   *cell;

	switch (node->kind)
	{
		case CONDITION_BETWEEN:
			return compare_with(number, linitial(node->values)) >= 0 &&
				compare_with(number, lsecond(node->values)) <= 0;
		case CONDITION_IN:
			foreach(cell, node->values)
			{
				if (compare_with(number, lfirst(cell)) == 0)
					return true;
			}
			return false;
		default:
			return satisfies(node->detail, compare_with(number, linitial(node->values)));
	}
}

/*
 * Dates.
 */

/* A day that a value means; beyond the calendar it is infinite. */
static DateADT
day_of(const Evaluation *evaluation, const BoundValue *value)
{
	DateADT		day;

	switch (value->kind)
	{
		case CONDITION_DAY:
			return evaluation->shop->today + (DateADT) value->number;
		case CONDITION_OFFSET:
			if (segment_offset_day(evaluation->shop->today, value->offset, &day))
				return day;
			return value->offset.n < 0 ? DATEVAL_NOBEGIN : DATEVAL_NOEND;
		default:
			return (DateADT) value->number;
	}
}

/* A date figure: its day in the shop, and its time of day where it is an instant. */
typedef struct Moment
{
	DateADT		day;
	Timestamp	local;			/* in the shop's zone */
	bool		has_time;
} Moment;

static bool
read_moment(const Evaluation *evaluation, const BoundNode *node, const FigureValue *figure, Moment *moment)
{
	if (!node->figure->instant)
	{
		moment->day = figure->date;
		moment->has_time = false;
		return !DATE_NOT_FINITE(figure->date);
	}
	moment->has_time = true;
	moment->local = DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone,
														  CStringGetTextDatum(evaluation->shop->zone_name),
														  TimestampTzGetDatum(figure->instant)));
	return segment_day_of_instant(figure->instant, evaluation->shop->zone, &moment->day);
}

static int
compare_moment(const Evaluation *evaluation, const Moment *moment, const FigureValue *figure, const BoundValue *value)
{
	DateADT		day;

	if (value->kind == CONDITION_DATETIME)
	{
		/* the instant that the clock of the shop shows so */
		TimestampTz at = DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone,
																 CStringGetTextDatum(evaluation->shop->zone_name),
																 TimestampGetDatum(value->number)));

		return figure->instant < at ? -1 : figure->instant > at;
	}
	day = day_of(evaluation, value);
	return moment->day < day ? -1 : moment->day > day;
}

static bool
date_holds(const Evaluation *evaluation, const BoundNode *node, const FigureValue *figure)
{
	Moment		moment;
	ListCell   *cell;
	DateADT		first,
				last;

	if (!read_moment(evaluation, node, figure, &moment))
		return false;
	switch (node->kind)
	{
		case CONDITION_BETWEEN:
			return compare_moment(evaluation, &moment, figure, linitial(node->values)) >= 0 &&
				compare_moment(evaluation, &moment, figure, lsecond(node->values)) <= 0;
		case CONDITION_IN:
			foreach(cell, node->values)
			{
				if (compare_moment(evaluation, &moment, figure, lfirst(cell)) == 0)
					return true;
			}
			return false;
		case CONDITION_DURING:
			return segment_period_days(evaluation->shop->today, &node->period, &first, &last) &&
				moment.day >= first && moment.day <= last;
		default:
			return satisfies(node->detail, compare_moment(evaluation, &moment, figure, linitial(node->values)));
	}
}

/* A date of a clause on anniversaries, its year ignored: brought to a given year. */
static DateADT
in_year(DateADT date, int year)
{
	int			its_year,
				month,
				day;
	DateADT		result;

	if (segment_date_parts(date, &its_year, &month, &day) && segment_anniversary_in(month, day, year, &result))
		return result;
	return date;
}

static bool
anniversary_within(const Moment *moment, DateADT from, DateADT to)
{
	int			year,
				month,
				day;
	bool		result = false;

	if (DATE_NOT_FINITE(from) || DATE_NOT_FINITE(to) ||
		!segment_date_parts(moment->day, &year, &month, &day))
		return false;
	return segment_anniversary_between(month, day, from, to, &result) && result;
}

static bool
anniversary_equals(const Evaluation *evaluation, const Moment *moment, const BoundValue *value, int this_year)
{
	DateADT		day = day_of(evaluation, value);

	if (value->kind == CONDITION_DATE)
		day = in_year(day, this_year);
	return anniversary_within(moment, day, day);
}

static bool
anniversary_holds(const Evaluation *evaluation, const BoundNode *node, const FigureValue *figure)
{
	Moment		moment;
	DateADT		from,
				to,
				its;
	int			this_year,
				year,
				month,
				day;
	ListCell   *cell;

	if (!read_moment(evaluation, node, figure, &moment) ||
		!segment_date_parts(evaluation->shop->today, &this_year, &month, &day))
		return false;
	switch (node->kind)
	{
		case CONDITION_DURING:
			return segment_period_days(evaluation->shop->today, &node->period, &from, &to) &&
				anniversary_within(&moment, from, to);
		case CONDITION_IN:
			foreach(cell, node->values)
			{
				if (anniversary_equals(evaluation, &moment, lfirst(cell), this_year))
					return true;
			}
			return false;
		case CONDITION_BETWEEN:
			{
				const BoundValue *first = linitial(node->values);
				const BoundValue *last = lsecond(node->values);

				from = day_of(evaluation, first);
				to = day_of(evaluation, last);
				if (first->kind == CONDITION_DATE)
					from = in_year(from, this_year);
				/* a last day before the first stands for the next such day: over the year's end */
				if (!segment_date_parts(to, &year, &month, &day))
					return false;
				if (last->kind == CONDITION_DATE)
					to = in_year(to, this_year);
				if (to < from && !segment_next_anniversary(month, day, from - 1, &to))
					return false;
				return anniversary_within(&moment, from, to);
			}
		default:
			if (node->detail == CONDITION_EQ || node->detail == CONDITION_NE)
				return anniversary_equals(evaluation, &moment, linitial(node->values), this_year);
			from = day_of(evaluation, linitial(node->values));
			if (((BoundValue *) linitial(node->values))->kind == CONDITION_DATE)
				from = in_year(from, this_year);
			if (!segment_date_parts(from, &year, &month, &day))
				return false;
			{
				int			birth_year,
							birth_month,
							birth_day;

				if (!segment_date_parts(moment.day, &birth_year, &birth_month, &birth_day) ||
					!segment_anniversary_in(birth_month, birth_day, year, &its))
					return false;
			}
			return satisfies(node->detail, its < from ? -1 : its > from);
	}
}

/*
 * Texts and lists.
 */

static text *
fold(const char *value, bool unaccented)
{
	return unaccented ? segment_unaccent_text(value, (int) strlen(value))
		: segment_fold_text(value, (int) strlen(value));
}

static int
compare_keys(const void *a, const void *b)
{
	const text *left = ((const ValueKey *) a)->key;
	const text *right = ((const ValueKey *) b)->key;
	int			left_length = VARSIZE_ANY_EXHDR(left);
	int			right_length = VARSIZE_ANY_EXHDR(right);

	if (left_length != right_length)
		return left_length < right_length ? -1 : 1;
	return memcmp(VARDATA_ANY(left), VARDATA_ANY(right), left_length);
}

/* Whether a text holds another at its beginning, its end or anywhere. */
static bool
holds_text(ConditionKind kind, const text *value, const text *part)
{
	int			length = VARSIZE_ANY_EXHDR(value);
	int			part_length = VARSIZE_ANY_EXHDR(part);
	const char *data = VARDATA_ANY(value);
	const char *wanted = VARDATA_ANY(part);

	if (part_length > length)
		return false;
	if (kind == CONDITION_STARTS_WITH)
		return memcmp(data, wanted, part_length) == 0;
	if (kind == CONDITION_ENDS_WITH)
		return memcmp(data + length - part_length, wanted, part_length) == 0;
	for (int i = 0; i <= length - part_length; i++)
	{
		if (memcmp(data + i, wanted, part_length) == 0)
			return true;
	}
	return false;
}

/* Whether a clause asks for whole texts or elements, not for pieces of a text. */
static bool
is_whole(const BoundNode *node)
{
	return node->type == VALUE_LIST || node->kind == CONDITION_COMPARE || node->kind == CONDITION_IN;
}

/* A text of the customer's, or an element of a list, as it is compared. */
static text *
own_key(const BoundNode *node, const char *value, const Shop *shop)
{
	int			length = (int) strlen(value);

	if (node->figure->word->id == WORD_PHONE && node->kind != CONDITION_HAS_WORD)
		return segment_phone_text(value, length, shop->phones);
	if (node->figure->word->id == WORD_REGION)
		return segment_region_text(value, length);
	if (node->figure->word->id == WORD_GROUPS)
		return cstring_to_text(value);	/* a code, not a text of the shop's */
	return fold(value, node->unaccented);
}

static text *
wanted_key(const BoundNode *node, const char *value, const Shop *shop)
{
	if (node->figure->word->id == WORD_PHONE && node->kind != CONDITION_HAS_WORD && !is_whole(node))
		return segment_phone_pattern_text(value, (int) strlen(value), shop->phones);
	return own_key(node, value, shop);
}

/*
 * Bring the values of clauses on texts and lists to the form in which they are
 * compared, once for all customers; sorted, where they are compared whole.
 */
void
segment_condition_prepare(BoundNode *node, const Shop *shop)
{
	ListCell   *cell;
	int			room = 0;

	check_stack_depth();
	foreach(cell, node->children)
		segment_condition_prepare(lfirst(cell), shop);
	if (node->figure == NULL || node->values == NIL || (node->type != VALUE_TEXT && node->type != VALUE_LIST))
		return;
	foreach(cell, node->values)
		room += 1 + list_length(((BoundValue *) lfirst(cell))->also);
	node->keys = palloc_extended(sizeof(ValueKey) * room, MCXT_ALLOC_HUGE);
	node->nkeys = 0;
	foreach(cell, node->values)
	{
		BoundValue *value = lfirst(cell);
		ListCell   *also;
		int			n = foreach_current_index(cell);

		node->keys[node->nkeys++] = (ValueKey) {wanted_key(node, value->text, shop), n};
		foreach(also, value->also)
			node->keys[node->nkeys++] = (ValueKey) {cstring_to_text(lfirst(also)), n};
	}
	if (is_whole(node))
		qsort(node->keys, node->nkeys, sizeof(ValueKey), compare_keys);
}

/* All that a bound is asked, see segment_condition_prepare(). */
void
segment_bound_prepare(Bound *bound, const Shop *shop)
{
	for (int i = 0; i < bound->nroots; i++)
		segment_condition_prepare(bound->roots[i], shop);
	for (int i = 0; i < bound->ngroups; i++)
	{
		if (bound->groups[i]->root != NULL)
			segment_condition_prepare(bound->groups[i]->root, shop);
	}
}

/* The first of the sorted keys that is this one, NULL where none is. */
static const ValueKey *
find_key(const BoundNode *node, text *key)
{
	ValueKey	wanted = {key, 0};
	const ValueKey *at = bsearch(&wanted, node->keys, node->nkeys, sizeof(ValueKey), compare_keys);

	while (at != NULL && at > node->keys && compare_keys(at - 1, at) == 0)
		at--;
	return at;
}

static bool
piece_matches(const BoundNode *node, const text *value, const text *wanted)
{
	if (node->kind == CONDITION_HAS_WORD)
		return segment_has_words_in(value, wanted);
	return holds_text(node->kind, value, wanted);
}

static bool
text_holds(const Evaluation *evaluation, const BoundNode *node, const char *value)
{
	text	   *own = own_key(node, value, evaluation->shop);

	if (is_whole(node))
		return find_key(node, own) != NULL;
	for (int i = 0; i < node->nkeys; i++)
	{
		if (piece_matches(node, own, node->keys[i].key))
			return true;
	}
	return false;
}

/* Note which of a clause's values a text or list has; how many of them were not noted before. */
static int
note_values(const BoundNode *node, const FigureValue *figure, const Shop *shop, bool *found)
{
	int			count = 0;
	int			n = node->type == VALUE_LIST ? figure->nelements : 1;

	for (int i = 0; i < n; i++)
	{
		const char *value = node->type == VALUE_LIST ? figure->elements[i] : figure->text;
		text	   *own = value ? own_key(node, value, shop) : NULL;
		const ValueKey *end = node->keys + node->nkeys;

		if (own == NULL)
			continue;
		for (const ValueKey *at = is_whole(node) ? find_key(node, own) : node->keys; at != NULL && at < end; at++)
		{
			if (is_whole(node))
			{
				ValueKey	mine = {own, 0};

				if (compare_keys(at, &mine) != 0)
					break;
			}
			else if (found[at->value] || !piece_matches(node, own, at->key))
				continue;
			count += !found[at->value];
			found[at->value] = true;
		}
	}
	return count;
}

static bool
list_holds(const Evaluation *evaluation, const BoundNode *node, const FigureValue *figure)
{
	if (node->kind == CONDITION_CONTAINS && node->detail == CONDITION_ALL)
		return note_values(node, figure, evaluation->shop, palloc0(sizeof(bool) * list_length(node->values))) == list_length(node->values);
	for (int i = 0; i < figure->nelements; i++)
	{
		if (figure->elements[i] != NULL && find_key(node, own_key(node, figure->elements[i], evaluation->shop)) != NULL)
			return true;
	}
	return false;
}

/*
 * Tiers.
 */

static int
rank_of(const BoundLadder *ladder, const char *code)
{
	for (int i = 0; i < ladder->ntiers; i++)
	{
		if (strcmp(ladder->tiers[i].code, code) == 0)
			return ladder->tiers[i].rank;
	}
	return -1;
}

static bool
tier_holds(const BoundNode *node, const char *tier)
{
	const BoundLadder *ladder = node->figure->ladder;
	int			rank = rank_of(ladder, tier);
	ListCell   *cell;

	if (node->kind == CONDITION_BETWEEN)
		return rank >= rank_of(ladder, ((BoundValue *) linitial(node->values))->text) &&
			rank <= rank_of(ladder, ((BoundValue *) lsecond(node->values))->text);
	if (node->kind == CONDITION_COMPARE && node->detail != CONDITION_EQ && node->detail != CONDITION_NE)
	{
		int			other = rank_of(ladder, ((BoundValue *) linitial(node->values))->text);

		return satisfies(node->detail, rank < other ? -1 : rank > other);
	}
	foreach(cell, node->values)
	{
		if (strcmp(tier, ((BoundValue *) lfirst(cell))->text) == 0)
			return true;
	}
	return false;
}

/* The tier that the ladder's figure reaches, NULL for none. */
static char *
tier_reached(const BoundFigure *figure, const FigureValue *base)
{
	const BoundLadder *ladder = figure->ladder;
	Numeric		value = base->isnull ? int64_to_numeric(0) : base->number;

	if (!ladder->active)
		return NULL;
	for (int i = ladder->ntiers - 1; i >= 0; i--)
	{
		Numeric		minimum = read_number(ladder->tiers[i].min_value);

		if (ladder->tiers[i].active &&
			(compare_numbers(value, minimum) >= 0 ||
			 (i == 0 && compare_numbers(minimum, int64_to_numeric(0)) == 0)))
			return ladder->tiers[i].code;
	}
	return NULL;
}

/*
 * Clauses.
 */

static char *
text_or_null(const text *value)
{
	return value ? text_to_cstring(value) : NULL;
}

/* What a figure holds that is derived from what is stored: a copy. */
static FigureValue
derived(const Evaluation *evaluation, const BoundFigure *figure)
{
	FigureValue value = evaluation->figures[figure->slot];

	switch (figure->word->id)
	{
		case WORD_TIER:
			value.text = tier_reached(figure, &evaluation->figures[figure->base->slot]);
			break;
		case WORD_GIVEN_NAME:
			if (!value.isnull && !value.derived)
				value.text = text_or_null(segment_given_name_text(value.text, (int) strlen(value.text),
																		evaluation->shop->given_name_first));
			break;
		case WORD_EMAIL_DOMAIN:
			if (!value.isnull)
				value.text = text_or_null(segment_email_domain_text(value.text, (int) strlen(value.text)));
			break;
		case WORD_SEX:
			if (!value.isnull)
				value.text = unconstify(char *, segment_sex_name(value.text, (int) strlen(value.text)));
			break;
		default:
			return value;
	}
	value.isnull = value.text == NULL;
	return value;
}

static bool
is_absent(const BoundNode *node, const FigureValue *figure)
{
	if (figure->isnull)
		return true;
	if (node->type == VALUE_TEXT)
		return VARSIZE_ANY_EXHDR(fold(figure->text, false)) == 0;
	if (node->type == VALUE_LIST)
	{
		for (int i = 0; i < figure->nelements; i++)
		{
			if (figure->elements[i] != NULL && VARSIZE_ANY_EXHDR(fold(figure->elements[i], false)) > 0)
				return false;
		}
		return true;
	}
	return false;
}

static bool
compare_figures(const Evaluation *evaluation, const BoundNode *node, const FigureValue *figure)
{
	FigureValue other = derived(evaluation, node->other);
	Numeric		number;

	if (other.isnull)
		return false;
	if (node->type == VALUE_DATE)
	{
		DateADT		a,
					b;
		BoundNode	side = *node;
		Moment		moment;

		/* two instants are compared as such, else days */
		if (node->figure->instant && node->other->instant)
			return satisfies(node->detail, figure->instant < other.instant ? -1 : figure->instant > other.instant);
		if (!read_moment(evaluation, &side, figure, &moment))
			return false;
		a = moment.day;
		side.figure = node->other;
		if (!read_moment(evaluation, &side, &other, &moment))
			return false;
		b = moment.day;
		return satisfies(node->detail, a < b ? -1 : a > b);
	}
	number = other.number;
	if (node->factor)
		number = DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(read_number(node->factor)),
													 NumericGetDatum(number)));
	return satisfies(node->detail, compare_numbers(figure->number, number));
}

static bool
clause_holds(const Evaluation *evaluation, const BoundNode *node)
{
	FigureValue figure = derived(evaluation, node->figure);
	bool		result;

	if (node->kind == CONDITION_IS_NULL)
		result = is_absent(node, &figure);
	else if (figure.isnull)
		result = false;
	else if (node->other)
		result = compare_figures(evaluation, node, &figure);
	else if (node->anniversary)
		result = anniversary_holds(evaluation, node, &figure);
	else
	{
		switch (node->type)
		{
			case VALUE_NUMBER:
				result = number_holds(node, figure.number);
				break;
			case VALUE_DATE:
				result = date_holds(evaluation, node, &figure);
				break;
			case VALUE_BOOLEAN:
				result = figure.boolean == (((BoundValue *) linitial(node->values))->number != 0);
				break;
			case VALUE_LIST:
				result = list_holds(evaluation, node, &figure);
				break;
			case VALUE_TIER:
				result = tier_holds(node, figure.text);
				break;
			default:
				result = text_holds(evaluation, node, figure.text);
		}
	}
	return result != (node->negated != (node->kind == CONDITION_COMPARE && node->detail == CONDITION_NE));
}

static bool
holds(const Evaluation *evaluation, const BoundNode *node)
{
	ListCell   *cell;

	check_stack_depth();
	switch (node->kind)
	{
		case CONDITION_TRUE:
			return true;
		case CONDITION_FALSE:
			return false;
		case CONDITION_NOT:
			return !holds(evaluation, linitial(node->children));
		case CONDITION_AND:
			foreach(cell, node->children)
			{
				if (!holds(evaluation, lfirst(cell)))
					return false;
			}
			return true;
		case CONDITION_OR:
			foreach(cell, node->children)
			{
				if (holds(evaluation, lfirst(cell)))
					return true;
			}
			return false;
		default:
			return clause_holds(evaluation, node);
	}
}

/* A figure as it is shown: derived from what is stored where it is, a name as it is written. */
FigureValue
segment_shown_figure(const Bound *bound, const FigureValue *figures, int slot, const Shop *shop)
{
	Evaluation	evaluation = {.figures = figures, .shop = shop};
	FigureValue value = figures[slot];

	if (bound->figures[slot]->word->id != WORD_GIVEN_NAME || value.isnull || value.derived)
		return derived(&evaluation, bound->figures[slot]);
	value.text = text_or_null(segment_given_name_as_written(value.text, (int) strlen(value.text), shop->given_name_first));
	value.isnull = value.text == NULL;
	return value;
}

/* Note which of a clause's values a customer's figure has; how many of them were not noted before. */
int
segment_find_values(const BoundNode *node, const BoundFigure *figure, const FigureValue *figures,
					const Shop *shop, bool *found)
{
	Evaluation	evaluation = {.figures = figures, .shop = shop};
	FigureValue value = derived(&evaluation, figure);

	return value.isnull ? 0 : note_values(node, &value, shop, found);
}

/* Whether a clause over a field of an event holds for a value of it. */
bool
segment_field_holds(const BoundNode *clause, const FigureValue *value, const Shop *shop)
{
	static const Word field = {WORD_CUSTOM, "field", VALUE_TEXT, NARROW_NOT, 0, NULL, NULL, NULL};
	BoundFigure figure = {.word = &field, .type = clause->type, .instant = clause->instant};
	BoundNode	node = *clause;

	node.figure = &figure;
	segment_condition_prepare(&node, shop);
	return segment_condition_holds(&node, value, shop);
}

/*
 * Whether a condition holds for the customer whose figures, by slot, are given.
 * Allocates in the current context, which the caller resets.
 */
bool
segment_condition_holds(const BoundNode *root, const FigureValue *figures, const Shop *shop)
{
	Evaluation	evaluation = {.figures = figures, .shop = shop};

	return holds(&evaluation, root);
}

/* The slot of the figure "groups", NULL where no condition names it. */
static FigureValue *
groups_of(const Bound *bound, FigureValue *figures)
{
	for (int i = 0; i < bound->nfigures; i++)
	{
		if (bound->figures[i]->word->id == WORD_GROUPS)
			return &figures[i];
	}
	return NULL;
}

/*
 * Judge the groups in their order, by group, and fill the figure "groups" on the
 * way, so that what comes later sees what came before.  Of fixed groups, and of
 * those that are not wanted where wanted is given, the verdict is taken as it is.
 * Of what is pending it says whether the group would be another one's verdict.
 */
void
segment_judge_groups(const Bound *bound, FigureValue *figures, const Shop *shop,
					 const bool *wanted, bool *verdicts)
{
	FigureValue *groups = groups_of(bound, figures);

	if (groups != NULL)
	{
		memset(groups, 0, sizeof(FigureValue));
		groups->elements = palloc(sizeof(char *) * Max(bound->ngroups, 1));
		groups->next_change = DT_NOEND;
	}
	for (int i = 0; i < bound->ngroups; i++)
	{
		const BoundGroup *group = bound->groups[i];

		if (!group->active)
			verdicts[i] = false;
		else if (!group->fixed && (wanted == NULL || wanted[i]))
		{
			verdicts[i] = group->root != NULL && segment_condition_holds(group->root, figures, shop);
			if (group->instead_of != 0)
				verdicts[i] ^= verdicts[group->present];
		}
		if (verdicts[i] && groups != NULL && group->instead_of == 0)
			groups->elements[groups->nelements++] = group->code;
	}
}
