/*
 * classify.c
 *		Which tiers and groups a customer is in.
 *
 * Pure: a compiled ruleset, a customer's facts and figures, an instant and a
 * zone in; tiers, groups and the instant at which they may next change by time
 * alone out.  It reads no table, no setting and no clock, so trigger, tick,
 * recalculation, rule changes and views cannot come to different verdicts.
 */
#include "segment.h"

#include "classify.h"
#include "condition_change.h"
#include "utils/fmgrprotos.h"

static const char *const figure_names[] = {
	[FIGURE_AMOUNT_SPENT] = "amount_spent",
	[FIGURE_AMOUNT_ORDERED] = "amount_ordered",
	[FIGURE_AMOUNT_RETURNED] = "amount_returned",
	[FIGURE_NUMBER_OF_ORDERS] = "number_of_orders",
	[FIGURE_NUMBER_OF_RETURNS] = "number_of_returns",
	[FIGURE_ITEMS_BOUGHT] = "items_bought",
	[FIGURE_ITEMS_RETURNED] = "items_returned",
};

/* FIGURE_UNKNOWN where no figure bears the name. */
Figure
segment_figure_by_name(const char *name)
{
	for (int i = 0; i < FIGURE_UNKNOWN; i++)
	{
		if (strcmp(figure_names[i], name) == 0)
			return (Figure) i;
	}
	return FIGURE_UNKNOWN;
}

/* All names, for a hint. */
const char *
segment_figure_names(void)
{
	return "amount_spent, amount_ordered, amount_returned, number_of_orders, number_of_returns, items_bought, items_returned";
}

/* Whether the figure is an amount of money; the others are counts. */
bool
segment_figure_is_money(Figure figure)
{
	return figure == FIGURE_AMOUNT_SPENT || figure == FIGURE_AMOUNT_ORDERED ||
		figure == FIGURE_AMOUNT_RETURNED;
}

/* The value of a figure, exact; allocated in the current context or shared with facts. */
Numeric
segment_figure_value(Figure figure, const Facts *facts)
{
	switch (figure)
	{
		case FIGURE_AMOUNT_SPENT:
			return DatumGetNumeric(DirectFunctionCall2(numeric_sub,
													   NumericGetDatum(facts->amount_ordered),
													   NumericGetDatum(facts->amount_returned)));
		case FIGURE_AMOUNT_ORDERED:
			return facts->amount_ordered;
		case FIGURE_AMOUNT_RETURNED:
			return facts->amount_returned;
		case FIGURE_NUMBER_OF_ORDERS:
			return int64_to_numeric(facts->number_of_orders);
		case FIGURE_NUMBER_OF_RETURNS:
			return int64_to_numeric(facts->number_of_returns);
		case FIGURE_ITEMS_BOUGHT:
			return facts->items_bought;
		case FIGURE_ITEMS_RETURNED:
			return facts->items_returned;
		case FIGURE_UNKNOWN:
			break;
	}
	elog(ERROR, "unrecognized figure: %d", (int) figure);
	return NULL;
}

/*
 * The active tier with the greatest minimum that the figure reaches, NULL for
 * none.  Only minima judge: 9,999,999.50 is below a minimum of 10,000,000
 * whatever the maximum of the tier before says.
 */
const Tier *
segment_tier_reached(const Ladder *ladder, const Facts *facts)
{
	const Tier *reached = NULL;
	Datum		value;
	int			low = 0;
	int			high = ladder->ntiers;

	if (!ladder->active || !facts->is_customer || ladder->ntiers == 0)
		return NULL;
	value = NumericGetDatum(segment_figure_value(ladder->figure, facts));

	/* after the loop, low is the number of tiers whose minimum is reached */
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (DatumGetBool(DirectFunctionCall2(numeric_le,
											 NumericGetDatum(ladder->tiers[middle].min_value),
											 value)))
			low = middle + 1;
		else
			high = middle;
	}
	for (int i = low - 1; i >= 0 && reached == NULL; i--)
	{
		if (ladder->tiers[i].active)
			reached = &ladder->tiers[i];
	}
	if (reached == NULL && ladder->tiers[0].active && ladder->tiers[0].takes_all_below)
		reached = &ladder->tiers[0];
	return reached;
}

/*
 * Judge a customer.  Where wanted is given, only those groups are judged, and
 * verdict->groups holds what the others are; the slots of figures that wanted
 * groups name are filled.  A group whose condition does not bind is nobody's to
 * judge and keeps what verdict->groups says.  verdict's arrays are the caller's;
 * allocates in the current context.
 */
void
segment_classify(const Ruleset *ruleset, const Facts *facts, FigureValue *figures,
				 const Shop *shop, const bool *wanted, Verdict *verdict)
{
	const Bound *groups = ruleset->groups;

	for (int i = 0; i < ruleset->nladders; i++)
		verdict->tiers[i] = segment_tier_reached(&ruleset->ladders[i], facts);
	verdict->due = DT_NOEND;
	if (!facts->is_customer)
	{
		for (int i = 0; i < groups->ngroups; i++)
			verdict->groups[i] = false;
		return;
	}
	segment_judge_groups(groups, figures, shop, wanted, verdict->groups);
	for (int i = 0; i < groups->ngroups; i++)
	{
		const BoundGroup *group = groups->groups[i];

		if (group->active && group->root != NULL && (wanted == NULL || wanted[i]))
			verdict->due = Min(verdict->due, segment_condition_change(group->root, figures, shop));
	}
}

static const Tier *
find_tier(const Tier *tiers, int ntiers, int id)
{
	for (int i = 0; i < ntiers; i++)
	{
		if (tiers[i].id == id)
			return &tiers[i];
	}
	return NULL;
}

/* The tier with this id, deleted or not, and its ladder; NULL where there is none. */
const Tier *
segment_tier_by_id(const Ruleset *ruleset, int id, const Ladder **ladder)
{
	for (int i = 0; i < ruleset->nladders; i++)
	{
		const Ladder *its = &ruleset->ladders[i];
		const Tier *tier = find_tier(its->tiers, its->ntiers, id);

		if (tier == NULL)
			tier = find_tier(its->former, its->nformer, id);
		if (tier != NULL)
		{
			*ladder = its;
			return tier;
		}
	}
	return NULL;
}
