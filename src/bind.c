/*
 * bind.c
 *		A condition whose names are looked up in a shop.
 *
 * The type only parses; here every name gets its type, every operator is held
 * against it and every value read as what is meant.  Whatever does not fit is an
 * error that quotes the clause and tells its place in the condition's text.
 */
#include "segment.h"

#include "bound.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "saved_plan.h"
#include "text_fold.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

/* a row of segment.groups on its way to be bound */
typedef struct GroupRow
{
	BoundGroup	group;
	const Condition *condition;
	enum
	{
		ROW_WAITS,
		ROW_BEING_BOUND,
		ROW_IS_BOUND
	}			state;
} GroupRow;

typedef struct Binder
{
	SourceSet  *set;
	Bound	   *bound;
	List	   *figures;		/* of BoundFigure, by slot */
	List	   *ladders;		/* of BoundLadder, once they are needed */
	GroupRow   *groups;			/* all of the shop by code, once they are needed */
	int			ngroups;
	bool		inactive_too;	/* bind also what nobody is judged by now */
	bool		collects;		/* what does not bind is noted, not raised */
	List	   *path;			/* of GroupRow: each uses the next */
	List	   *done;			/* of BoundGroup, in dependency order */
} Binder;

/* the group whose condition is being bound, to be named in errors */
static const char *bound_group = NULL;

static BoundNode *bind_node(Binder *binder, const ConditionNode *node);

/*
 * Errors.
 */

static void
bind_error(const ConditionNode *node, int sqlstate, const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 bound_group ? errmsg("condition of group \"%s\": %s", bound_group, message)
			 : errmsg_internal("%s", message),
			 errdetail("At position %d: %s", segment_condition_node_position(node),
					   segment_condition_node_text(node)),
			 hint ? errhint("%s", hint) : 0));
}

/* The operator of a clause as it is written, without NOT. */
static const char *
operator_name(const ConditionNode *clause)
{
	static const char *const comparisons[] = {
		[CONDITION_EQ] = "=",
		[CONDITION_NE] = "!=",
		[CONDITION_LT] = "<",
		[CONDITION_LE] = "<=",
		[CONDITION_GT] = ">",
		[CONDITION_GE] = ">=",
	};

	switch (clause->kind)
	{
		case CONDITION_COMPARE:
			return comparisons[clause->detail];
		case CONDITION_BETWEEN:
			return "BETWEEN";
		case CONDITION_IN:
			return "IN";
		case CONDITION_IS_NULL:
			return "IS NULL";
		case CONDITION_DURING:
			return "DURING";
		case CONDITION_CONTAINS:
			return clause->detail == CONDITION_ALL ? "CONTAINS ALL" : "CONTAINS";
		case CONDITION_STARTS_WITH:
			return "STARTS WITH";
		case CONDITION_ENDS_WITH:
			return "ENDS WITH";
		case CONDITION_HAS_WORD:
			return "HAS WORD";
		default:
			return "MATCHES";
	}
}

static void
wrong_operator(const ConditionNode *node, const char *what, ValueType type)
{
	static const char *const operators[] = {
		[VALUE_TEXT] = "=, !=, IN, CONTAINS, STARTS WITH, ENDS WITH, HAS WORD and IS NULL",
		[VALUE_NUMBER] = "=, !=, <, <=, >, >=, BETWEEN, IN and IS NULL",
		[VALUE_DATE] = "=, !=, <, <=, >, >=, BETWEEN, IN, DURING and IS NULL",
		[VALUE_BOOLEAN] = "=, != and IS NULL",
		[VALUE_LIST] = "CONTAINS, CONTAINS ANY, CONTAINS ALL, =, !=, IN and IS NULL",
		[VALUE_TIER] = "=, !=, <, <=, >, >=, BETWEEN, IN and IS NULL",
		[VALUE_EVENT] = "MATCHES and NOT MATCHES",
	};

	bind_error(node, ERRCODE_DATATYPE_MISMATCH,
			   psprintf("%s is a %s and has no operator %s", what, segment_value_type_name(type), operator_name(node)),
			   psprintf("Use %s.", operators[type]));
}

static void
wrong_value(const ConditionNode *clause, const char *what, ValueType type, const char *value)
{
	static const char *const wanted[] = {
		[VALUE_TEXT] = "Write a text in single quotes.",
		[VALUE_NUMBER] = "Write a number, without quotes.",
		[VALUE_DATE] = "Write a date such as 2026-01-31, an offset such as -30d, or today.",
		[VALUE_BOOLEAN] = "Write TRUE or FALSE.",
		[VALUE_LIST] = "Write a text in single quotes.",
		[VALUE_TIER] = "Write the code of a tier in single quotes.",
		[VALUE_EVENT] = "Use MATCHES.",
	};

	bind_error(clause, ERRCODE_DATATYPE_MISMATCH,
			   psprintf("%s is a %s and cannot be compared with %s", what, segment_value_type_name(type), value),
			   wanted[type]);
}

/*
 * Names.
 */

/* Whether sources of a role hold events that a narrowing is over. */
bool
segment_roles_of_event(Narrowing event, SourceRole role)
{
	switch (event)
	{
		case NARROW_ORDERS:
			return role == ROLE_ORDERS;
		case NARROW_SPENT:
			return role == ROLE_ORDERS || role == ROLE_RETURNS;
		case NARROW_LINES:
			return role == ROLE_ORDER_LINES || role == ROLE_ORDERS;
		case NARROW_RETURN_LINES:
			return role == ROLE_RETURN_LINES || role == ROLE_RETURNS;
		case NARROW_OFFERS:
			return role == ROLE_OFFERS;
		case NARROW_POINTS:
			return role == ROLE_POINTS;
		default:
			return false;
	}
}

/* A source that maps a column of the merchant's own, of the kinds that an event reaches. */
Source *
segment_custom_source(SourceSet *set, Narrowing event, const char *column)
{
	for (int i = 0; i < set->nsources; i++)
	{
		Source	   *source = &set->sources[i];
		bool		reaches = event == NARROW_NOT ? source->role == ROLE_CUSTOMERS
			: segment_roles_of_event(event, source->role) ||
			(event == NARROW_RETURN_LINES && source->role == ROLE_ORDERS);

		if (reaches && segment_source_column(source, column) != NULL)
			return source;
	}
	return NULL;
}

/* The type of a mapped column; instant tells dates that are days of instants. */
ValueType
segment_column_type(const SourceColumn *column, bool *instant)
{
	*instant = column->type == TIMESTAMPTZOID;
	switch (column->type)
	{
		case NUMERICOID:
			return VALUE_NUMBER;
		case BOOLOID:
			return VALUE_BOOLEAN;
		case DATEOID:
		case TIMESTAMPTZOID:
			return VALUE_DATE;
		case TEXTARRAYOID:
			return VALUE_LIST;
		default:
			return VALUE_TEXT;
	}
}

static bool
has_role(SourceSet *set, SourceRole role)
{
	for (int i = 0; i < set->nsources; i++)
	{
		if (set->sources[i].role == role)
			return true;
	}
	return false;
}

/* Whether some source of a role maps a column. */
bool
segment_is_mapped(SourceSet *set, SourceRole role, const char *column)
{
	for (int i = 0; i < set->nsources; i++)
	{
		Source	   *source = &set->sources[i];

		if (source->role == role && segment_source_column(source, column) != NULL)
			return true;
	}
	return false;
}

static bool
is_fed_by_column(SourceSet *set, const Word *word)
{
	Source	   *customers = segment_customers_source(set);

	if (word->column == NULL || customers == NULL)
		return false;
	if (segment_source_column(customers, word->column) != NULL)
		return true;
	switch (word->id)
	{
		case WORD_GIVEN_NAME:
			return segment_source_column(customers, "name") != NULL;
		case WORD_BIRTH_DAY:
		case WORD_BIRTH_MONTH:
		case WORD_BIRTH_YEAR:
			return segment_source_column(customers, "birth_date") != NULL;
		default:
			return false;
	}
}

/* What must be mapped for a word to be fed; NULL where it is. */
const char *
segment_missing_feed(SourceSet *set, const Word *word)
{
	if (is_fed_by_column(set, word))
		return NULL;
	if (word->id == WORD_ITEMS_BOUGHT && has_role(set, ROLE_ORDERS))
		return segment_is_mapped(set, ROLE_ORDERS, "items") || has_role(set, ROLE_ORDER_LINES) ? NULL
			: "Map the items: segment.attach_orders(…, items => …), or attach the lines of orders: segment.attach_order_lines(…).";
	if (word->id == WORD_ITEMS_RETURNED && has_role(set, ROLE_RETURNS))
		return segment_is_mapped(set, ROLE_RETURNS, "items") || has_role(set, ROLE_RETURN_LINES) ? NULL
			: "Map the items: segment.attach_returns(…, items => …), or attach the lines of returns: segment.attach_return_lines(…).";
	if (word->needs & NEEDS_ORDERS)
		return has_role(set, ROLE_ORDERS) ? NULL : "Attach the orders: segment.attach_orders(…).";
	if (word->needs & NEEDS_LINES)
		return has_role(set, ROLE_ORDER_LINES) ? NULL : "Attach the lines of orders: segment.attach_order_lines(…, product => …).";
	if (word->needs & NEEDS_RETURNS)
		return has_role(set, ROLE_RETURNS) ? NULL : "Attach the returns: segment.attach_returns(…).";
	if (word->needs & NEEDS_OFFERS)
		return has_role(set, ROLE_OFFERS) ? NULL : "Attach the offers used: segment.attach_offers(…).";
	if (word->needs & NEEDS_POINTS)
		return has_role(set, ROLE_POINTS) ? NULL
			: word->id != WORD_POINTS ? "Attach the points: segment.attach_points(…)."
			: "Attach the points: segment.attach_points(…), or map the balance: segment.attach_customers(…, points => …).";
	if (word->needs & NEEDS_TAGS)
		return has_role(set, ROLE_TAGS) ? NULL : "Map the tags: segment.attach_customers(…, tags => …), or segment.attach_tags(…).";
	if (word->id == WORD_SHOPIFY_COLUMN)
		return psprintf("Map it: segment.attach_customers(…, custom => '{\"%s\": …}').", word->name);
	if (word->column != NULL)
		return psprintf("Map it: segment.attach_customers(…, %s => …).", word->column);
	return NULL;
}

/* The nearest known name of a customer's figure. */
static const char *
nearest_word(SourceSet *set, const char *name)
{
	List	   *names = NIL;
	const char **array;
	const Word *word;
	Source	   *customers = segment_customers_source(set);
	bool		custom = strncmp(name, "custom.", 7) == 0;
	int			n = 0;
	ListCell   *cell;

	for (int i = 0; !custom && (word = segment_word_at(i)) != NULL; i++)
		names = lappend(names, unconstify(char *, word->name));
	for (int i = 0; customers && i < customers->ncolumns; i++)
	{
		if (strncmp(customers->columns[i].name, "custom.", 7) == 0)
			names = lappend(names, customers->columns[i].name + (custom ? 0 : 7));
	}
	array = palloc(sizeof(char *) * list_length(names));
	foreach(cell, names)
		array[n++] = lfirst(cell);
	return segment_nearest(name, array, n);
}

/* The first event that has a field of that name; NULL where none has. */
static const char *
event_with_field(SourceSet *set, const char *name)
{
	const Word *word;
	const char *column = strncmp(name, "custom.", 7) == 0 ? name : psprintf("custom.%s", name);

	for (int i = 0; (word = segment_word_at(i)) != NULL; i++)
	{
		const EventField *field;

		if (word->type != VALUE_EVENT || word->id == WORD_SHOPIFY)
			continue;
		for (int j = 0; (field = segment_event_field(word->narrowing, j)) != NULL; j++)
		{
			if (strcmp(field->name, name) == 0)
				return word->name;
		}
		if (segment_custom_source(set, word->narrowing, column) != NULL)
			return word->name;
	}
	return NULL;
}

static void
unknown_name(Binder *binder, const ConditionNode *node, const char *name)
{
	const char *nearest = nearest_word(binder->set, name);
	const char *event = event_with_field(binder->set, name);

	bind_error(node, ERRCODE_UNDEFINED_COLUMN,
			   psprintf("nothing is known by the name \"%s\"", name),
			   event ? psprintf("It is a field of events: %s MATCHES (%s …).", event, name)
			   : nearest ? psprintf("Perhaps you mean \"%s\"; segment.figures shows all.", nearest)
			   : strncmp(name, "custom.", 7) == 0
			   ? psprintf("Map it: segment.attach_customers(…, custom => '{\"%s\": …}').", name + 7)
			   : "segment.figures shows all names; columns of your own are mapped by custom => … when attaching.");
}

/* A figure that was met before has its slot already. */
static BoundFigure *
share_figure(Binder *binder, BoundFigure *figure)
{
	ListCell   *cell;

	foreach(cell, binder->figures)
	{
		BoundFigure *known = lfirst(cell);

		if (known->aggregate == figure->aggregate && strcmp(known->text, figure->text) == 0)
			return known;
	}
	figure->slot = list_length(binder->figures);
	binder->figures = lappend(binder->figures, figure);
	return figure;
}

/* The one value of a parameter such as months = 6. */
static void
only_parameter(const ConditionNode *node, const char *name, ConditionKind kind, ConditionNode *value)
{
	ConditionNode param;
	ConditionNode field;

	if (node->nchildren == 1)
	{
		segment_condition_child(node, 0, &param);
		if (param.kind == CONDITION_COMPARE && param.detail == CONDITION_EQ && param.nchildren == 2)
		{
			segment_condition_child(&param, 0, &field);
			segment_condition_child(&param, 1, value);
			if (strcmp(field.text, name) == 0 && value->kind == kind)
				return;
		}
	}
	bind_error(node, ERRCODE_SYNTAX_ERROR,
			   psprintf("%s takes one parameter, \"%s\", and nothing else", node->text, name),
			   psprintf("Write %s(%s = %s).", node->text, name, kind == CONDITION_NUMBER ? "6" : "'code'"));
}

static void
bind_months(const ConditionNode *node, BoundFigure *figure)
{
	ConditionNode value;

	only_parameter(node, "months", CONDITION_NUMBER, &value);
	figure->months = strlen(value.text) > 4 ? 0 : atoi(value.text);
	if (figure->months < 1 || figure->months > 1200 || strspn(value.text, "0123456789") != strlen(value.text))
		bind_error(node, ERRCODE_INVALID_PARAMETER_VALUE,
				   psprintf("months must be a whole number from 1 to 1200, not %s", value.text),
				   "Write monthly_average(months = 6).");
}

/* Ladders with their tiers, as they are now. */
static void
read_ladders(Binder *binder)
{
	SPITupleTable *table;
	BoundLadder *ladder = NULL;
	Identity	caller;
	uint64		n;

	segment_become(binder->set->owner, &caller);
	n = segment_execute("SELECT l.code, l.figure, l.active, l.is_default, t.code, t.min_value, t.active, t.rank"
						" FROM segment.ladders l LEFT JOIN segment._ranked_tiers() t ON t.ladder = l.code"
						" ORDER BY l.code, t.min_value");
	segment_resume(&caller);
	table = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		char	   *values[8];

		for (int j = 0; j < 8; j++)
			values[j] = SPI_getvalue(table->vals[i], table->tupdesc, j + 1);
		if (ladder == NULL || strcmp(ladder->code, values[0]) != 0)
		{
			ladder = palloc0(sizeof(BoundLadder));
			ladder->code = values[0];
			ladder->figure = values[1];
			ladder->active = values[2][0] == 't';
			ladder->is_default = values[3][0] == 't';
			ladder->tiers = palloc(sizeof(BoundTier) * n);
			binder->ladders = lappend(binder->ladders, ladder);
		}
		if (values[4] != NULL)
		{
			BoundTier  *tier = &ladder->tiers[ladder->ntiers++];

			tier->code = values[4];
			tier->min_value = values[5];
			tier->active = values[6][0] == 't';
			tier->rank = atoi(values[7]);
		}
	}
}

static const BoundLadder *
find_ladder(Binder *binder, const ConditionNode *node, const char *code)
{
	const char **codes;
	int			n = 0;
	const char *nearest;
	ListCell   *cell;

	if (binder->ladders == NIL)
		read_ladders(binder);
	codes = palloc(sizeof(char *) * Max(list_length(binder->ladders), 1));
	foreach(cell, binder->ladders)
	{
		BoundLadder *ladder = lfirst(cell);

		codes[n++] = ladder->code;
		if (code != NULL ? strcmp(ladder->code, code) == 0 : ladder->is_default)
			return ladder;
	}
	if (code == NULL)
		bind_error(node, ERRCODE_UNDEFINED_OBJECT, "there is no default ladder",
				   "Name one: tier(ladder = 'code'), or set is_default on one of segment.ladders.");
	nearest = segment_nearest(code, codes, n);
	bind_error(node, ERRCODE_UNDEFINED_OBJECT, psprintf("there is no ladder \"%s\"", code),
			   nearest ? psprintf("Perhaps you mean \"%s\".", nearest) : "segment.ladders has them.");
	return NULL;
}

static void bind_narrowing(Binder *binder, const ConditionNode *node, BoundFigure *figure);
static void set_aggregate(BoundFigure *figure);
static void refuse_unfed(Binder *binder, const ConditionNode *node, const Word *word);

/* The figure of that name without parameters: what a ladder stands on. */
static BoundFigure *
plain_figure(Binder *binder, const ConditionNode *node, const char *name, const char *ladder)
{
	BoundFigure *figure = palloc0(sizeof(BoundFigure));
	const char *missing;

	figure->word = segment_word_find(name);
	if (figure->word == NULL)
		elog(ERROR, "a ladder stands on an unknown figure \"%s\"", name);
	missing = segment_missing_feed(binder->set, figure->word);
	if (missing != NULL)
		bind_error(node, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				   psprintf("nothing feeds \"%s\" here, on which ladder \"%s\" stands", name, ladder), missing);
	figure->type = figure->word->type;
	figure->text = figure->word->name;
	set_aggregate(figure);
	return share_figure(binder, figure);
}

/* What stands in parentheses behind a figure's name. */
static void
bind_parameters(Binder *binder, const ConditionNode *node, BoundFigure *figure)
{
	ConditionNode value;

	switch (figure->word->narrowing)
	{
		case NARROW_MONTHS:
			if (node->nchildren > 0)
				bind_months(node, figure);
			break;
		case NARROW_LADDER:
			if (node->nchildren > 0)
				only_parameter(node, "ladder", CONDITION_TEXT, &value);
			figure->ladder = find_ladder(binder, node, node->nchildren > 0 ? value.text : NULL);
			figure->base = plain_figure(binder, node, figure->ladder->figure, figure->ladder->code);
			break;
		case NARROW_NOT:
			if (node->nchildren > 0)
				bind_error(node, ERRCODE_SYNTAX_ERROR, psprintf("%s cannot be narrowed", node->text),
						   "Only what adds up events can: amount_spent(date >= -30d).");
			break;
		default:
			bind_narrowing(binder, node, figure);
	}
}

/* What a word adds up, where it adds up. */
static void
set_aggregate(BoundFigure *figure)
{
	figure->event = figure->word->narrowing;
	switch (figure->word->id)
	{
		case WORD_NUMBER_OF_ORDERS:
		case WORD_NUMBER_OF_RETURNS:
			figure->aggregate = AGGREGATE_COUNT;
			break;
		case WORD_AMOUNT_ORDERED:
		case WORD_AMOUNT_RETURNED:
			figure->aggregate = AGGREGATE_AMOUNT;
			break;
		case WORD_ITEMS_BOUGHT:
		case WORD_ITEMS_RETURNED:
			figure->aggregate = AGGREGATE_QUANTITY;
			break;
		default:
			break;
	}
}

/* A column of the merchant's own on customers. */
static BoundFigure *
bind_custom(Binder *binder, const ConditionNode *node)
{
	const char *name = strncmp(node->text, "custom.", 7) == 0 ? node->text : psprintf("custom.%s", node->text);
	Source	   *source = segment_custom_source(binder->set, NARROW_NOT, name);
	BoundFigure *figure = palloc0(sizeof(BoundFigure));
	static const Word custom = {WORD_CUSTOM, "custom", VALUE_TEXT, NARROW_NOT, 0, NULL, NULL, NULL};

	if (source == NULL)
		unknown_name(binder, node, node->text);
	if (node->nchildren > 0)
		bind_error(node, ERRCODE_SYNTAX_ERROR, psprintf("%s cannot be narrowed", node->text),
				   "Only what adds up events can: amount_spent(date >= -30d).");
	figure->word = &custom;
	figure->column = name;
	figure->type = segment_column_type(segment_source_column(source, name), &figure->instant);
	figure->text = segment_condition_node_text(node);
	return share_figure(binder, figure);
}

static void
refuse_unfed(Binder *binder, const ConditionNode *node, const Word *word)
{
	const char *missing;

	if (word->id == WORD_OF_ORDER)
		bind_error(node, ERRCODE_FEATURE_NOT_SUPPORTED,
				   psprintf("\"%s\" is about the order at hand, and there is none here", word->name),
				   "It can be used in promotions only.");
	if (word->id == WORD_SHOPIFY)
		bind_error(node, ERRCODE_FEATURE_NOT_SUPPORTED,
				   psprintf("\"%s\" is known to Shopify's own platform only", word->name),
				   word->type == VALUE_EVENT ? "No table of a shop can feed it; leave the clause out."
				   : psprintf("Leave the clause out; a column of your own would be custom.%s, with segment.attach_customers(…, custom => '{\"%s\": …}').",
							  word->name, word->name));
	missing = segment_missing_feed(binder->set, word);
	if (missing != NULL)
		bind_error(node, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				   psprintf("nothing feeds \"%s\" here", word->name), missing);
}

/*
 * The word that a name stands for here, NULL for a column of the merchant's own.
 * Shopify keeps dates of birth in the metafield facts.birth_date.
 */
static const Word *
word_of(Binder *binder, const char *name)
{
	const Word *word = segment_word_find(name);

	if (word == NULL && strcmp(name, "custom.birth_date") == 0 &&
		segment_custom_source(binder->set, NARROW_NOT, name) == NULL)
		return segment_word_find("birth_date");
	if (word != NULL && word->id == WORD_SHOPIFY_COLUMN &&
		segment_custom_source(binder->set, NARROW_NOT, psprintf("custom.%s", name)) != NULL)
		return NULL;
	return word;
}

/* The figure that a name with its parameters stands for; events are not figures. */
static BoundFigure *
bind_figure(Binder *binder, const ConditionNode *node)
{
	const Word *word = word_of(binder, node->text);
	BoundFigure *figure;

	if (word == NULL)
		return bind_custom(binder, node);
	refuse_unfed(binder, node, word);
	if (word->type == VALUE_EVENT)
		bind_error(node, ERRCODE_DATATYPE_MISMATCH,
				   psprintf("%s is an event and cannot be compared", word->name),
				   psprintf("Write %s MATCHES (…).", word->name));
	figure = palloc0(sizeof(BoundFigure));
	figure->word = word;
	figure->type = word->type;
	figure->text = segment_condition_node_text(node);
	figure->instant = word->id == WORD_MEMBER_SINCE || word->id == WORD_ADDED_DATE ||
		word->id == WORD_FIRST_ORDER_DATE || word->id == WORD_LAST_ORDER_DATE;
	set_aggregate(figure);
	bind_parameters(binder, node, figure);
	return share_figure(binder, figure);
}

/*
 * Values.
 */

static char *
shown(const ConditionNode *value)
{
	return segment_condition_node_text(value);
}

/* A quoted date is a date where one is meant. */
static bool
read_quoted_date(const char *text, BoundValue *value)
{
	int			year,
				month,
				day;
	char		rest;

	if (sscanf(text, "%4d-%2d-%2d%c", &year, &month, &day, &rest) != 3 || strlen(text) != 10 ||
		year < 1 || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	value->number = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	value->kind = CONDITION_DATE;
	{
		int			back_year,
					back_month,
					back_day;

		j2date((int) value->number + POSTGRES_EPOCH_JDATE, &back_year, &back_month, &back_day);
		return back_month == month && back_day == day;
	}
}

static BoundValue *
new_value(const ConditionNode *node)
{
	static const char units[] = {'d', 'w', 'm', 'y'};
	BoundValue *value = palloc0(sizeof(BoundValue));

	value->kind = node->kind;
	value->number = node->number;
	if (node->text != NULL)
		value->text = pnstrdup(node->text, node->length);
	if (node->kind == CONDITION_OFFSET)
	{
		value->offset.n = (int32) node->number;
		value->offset.unit = units[node->detail];
	}
	return value;
}

/* A value that a date can be compared with. */
static BoundValue *
bind_date_value(const ConditionNode *clause, const char *what, bool instant, const ConditionNode *node)
{
	BoundValue *value = new_value(node);

	switch (node->kind)
	{
		case CONDITION_DATE:
		case CONDITION_OFFSET:
		case CONDITION_DAY:
			return value;
		case CONDITION_DATETIME:
			if (!instant)
				bind_error(clause, ERRCODE_DATATYPE_MISMATCH,
						   psprintf("%s is a date without a time and cannot be compared with %s", what, shown(node)),
						   "Write the date alone.");
			return value;
		case CONDITION_TEXT:
			if (read_quoted_date(value->text, value))
				return value;
			break;
		default:
			break;
	}
	wrong_value(clause, what, VALUE_DATE, shown(node));
	return NULL;
}

/* What the clause asks: enough to read its values and to say what is wrong. */
typedef struct Asked
{
	BoundFigure *figure;
	const char *what;
	ValueType	type;
	bool		instant;
	bool		takes_numbers;	/* texts that may be written as numbers: keys of products, channels, branches, … */
	const BoundLadder *ladder;	/* tiers */
} Asked;

static int
tier_position(const BoundLadder *ladder, const char *code)
{
	for (int i = 0; i < ladder->ntiers; i++)
	{
		if (strcmp(ladder->tiers[i].code, code) == 0)
			return i;
	}
	return -1;
}

static void
check_tier(const ConditionNode *clause, const Asked *asked, const char *code)
{
	const char **codes;
	const char *nearest;

	if (tier_position(asked->ladder, code) >= 0)
		return;
	codes = palloc(sizeof(char *) * Max(asked->ladder->ntiers, 1));
	for (int i = 0; i < asked->ladder->ntiers; i++)
		codes[i] = asked->ladder->tiers[i].code;
	nearest = segment_nearest(code, codes, asked->ladder->ntiers);
	bind_error(clause, ERRCODE_UNDEFINED_OBJECT,
			   psprintf("there is no tier \"%s\" on ladder \"%s\"", code, asked->ladder->code),
			   nearest ? psprintf("Perhaps you mean \"%s\".", nearest) : "segment.tiers has them.");
}

/* Other stored values that mean the region of that name. */
static List *
spellings_of_region(Binder *binder, const char *name)
{
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum(name);
	List	   *spellings = NIL;
	Identity	caller;

	segment_become(binder->set->owner, &caller);
	segment_execute_with("SELECT a.alias_key FROM segment.region_aliases a"
						 " WHERE a.region_key = segment.region($1) ORDER BY a.alias_key",
						 1, &type, &value, NULL, false, NULL, NULL);
	segment_resume(&caller);
	for (uint64 i = 0; i < SPI_processed; i++)
		spellings = lappend(spellings, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	return spellings;
}

/* Rows of groups, as a query gives them. */
static GroupRow *
read_rows(Binder *binder, int *nrows, const char *sql)
{
	SPITupleTable *table;
	GroupRow   *rows;
	Identity	caller;

	segment_become(binder->set->owner, &caller);
	*nrows = (int) segment_execute_latest(sql);
	segment_resume(&caller);
	table = SPI_tuptable;
	rows = palloc0(sizeof(GroupRow) * Max(*nrows, 1));
	for (int i = 0; i < *nrows; i++)
	{
		GroupRow   *row = &rows[i];
		bool		isnull;
		Datum		condition;

		row->group.id = DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
		row->group.code = SPI_getvalue(table->vals[i], table->tupdesc, 2);
		row->group.fixed = DatumGetBool(SPI_getbinval(table->vals[i], table->tupdesc, 3, &isnull));
		row->group.active = DatumGetBool(SPI_getbinval(table->vals[i], table->tupdesc, 4, &isnull));
		row->group.notify = DatumGetBool(SPI_getbinval(table->vals[i], table->tupdesc, 5, &isnull));
		condition = SPI_getbinval(table->vals[i], table->tupdesc, 6, &isnull);
		if (!isnull)
			row->condition = (Condition *) PG_DETOAST_DATUM_COPY(condition);
		row->group.instead_of = DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 7, &isnull));
	}
	SPI_freetuptable(table);
	return rows;
}

/* All groups of the shop, as they are now. */
static void
read_groups(Binder *binder)
{
	if (binder->groups == NULL)
		binder->groups = read_rows(binder, &binder->ngroups,
								   "SELECT g.id, g.code, g.kind OPERATOR(pg_catalog.=) 'fixed', g.active, g.notify, g.condition, 0"
								   " FROM segment.groups g ORDER BY g.code");
}

/* Conditions that are to take the place of those of groups: see activate.c. */
static GroupRow *
read_pending(Binder *binder, int *npending)
{
	return read_rows(binder, npending,
					 "SELECT p.marker, g.code, false, true, false, p.condition, g.id"
					 " FROM segment.pending_groups p JOIN segment.groups g ON g.id OPERATOR(pg_catalog.=) p.group_id"
					 " ORDER BY p.marker");
}

static GroupRow *
find_group(Binder *binder, const char *code)
{
	for (int i = 0; i < binder->ngroups; i++)
	{
		if (strcmp(binder->groups[i].group.code, code) == 0)
			return &binder->groups[i];
	}
	return NULL;
}

/* The code that is nearest to one that there is not; NULL where none is near. */
static const char *
nearest_group(Binder *binder, const char *code)
{
	const char **codes = palloc(sizeof(char *) * Max(binder->ngroups, 1));

	for (int i = 0; i < binder->ngroups; i++)
		codes[i] = binder->groups[i].group.code;
	return segment_nearest(code, codes, binder->ngroups);
}

/* There must be a group of that code, and what it means must be known. */
static void
check_group(Binder *binder, const ConditionNode *clause, const char *code)
{
	GroupRow   *row;
	const char *nearest;

	read_groups(binder);
	row = find_group(binder, code);
	if (row != NULL)
	{
		if (row->group.active && row->group.fault != NULL)
			bind_error(clause, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   psprintf("the condition of group \"%s\" does not bind itself", code), "segment.status() says why.");
		return;
	}
	nearest = nearest_group(binder, code);
	bind_error(clause, ERRCODE_UNDEFINED_OBJECT, psprintf("there is no group \"%s\"", code),
			   nearest ? psprintf("Perhaps you mean \"%s\".", nearest) : "segment.groups has them.");
}

static BoundValue *
bind_value(Binder *binder, const ConditionNode *clause, const Asked *asked, const ConditionNode *node)
{
	BoundValue *value;
	bool		fits;

	if (asked->type == VALUE_DATE)
		return bind_date_value(clause, asked->what, asked->instant, node);
	value = new_value(node);
	switch (asked->type)
	{
		case VALUE_NUMBER:
			fits = node->kind == CONDITION_NUMBER;
			break;
		case VALUE_BOOLEAN:
			fits = node->kind == CONDITION_BOOLEAN;
			break;
		default:
			fits = node->kind == CONDITION_TEXT || (node->kind == CONDITION_NUMBER && asked->takes_numbers);
			/* a text that is spelled like a date is carried as one */
			if (!fits && (node->kind == CONDITION_DATE || node->kind == CONDITION_OFFSET || node->kind == CONDITION_DAY))
				wrong_value(clause, asked->what, asked->type, psprintf("the date %s", shown(node)));
			value->kind = CONDITION_TEXT;
	}
	if (!fits)
		wrong_value(clause, asked->what, asked->type, shown(node));
	if (asked->type == VALUE_TIER)
		check_tier(clause, asked, value->text);
	if (asked->figure && asked->figure->word->id == WORD_GROUPS)
		check_group(binder, clause, value->text);
	if (asked->figure && asked->figure->word->id == WORD_REGION)
		value->also = spellings_of_region(binder, value->text);
	if (asked->figure && asked->figure->word->id == WORD_SEX)
	{
		const char *sex = segment_sex_name(value->text, (int) strlen(value->text));

		if (sex == NULL)
			bind_error(clause, ERRCODE_INVALID_PARAMETER_VALUE,
					   psprintf("sex cannot be '%s'", value->text),
					   "Write 'female' or 'male'; IS NULL asks for unknown.");
		value->text = pstrdup(sex);
	}
	return value;
}

/*
 * Clauses.
 */

static bool
operator_fits(const ConditionNode *clause, const Asked *asked)
{
	bool		ordered = asked->type == VALUE_NUMBER || asked->type == VALUE_DATE || asked->type == VALUE_TIER;

	switch (clause->kind)
	{
		case CONDITION_COMPARE:
			return ordered || clause->detail == CONDITION_EQ || clause->detail == CONDITION_NE;
		case CONDITION_BETWEEN:
			return ordered;
		case CONDITION_IN:
			return asked->type != VALUE_BOOLEAN;
		case CONDITION_IS_NULL:
			return true;
		case CONDITION_DURING:
			return asked->type == VALUE_DATE;
		case CONDITION_CONTAINS:
			return asked->type == VALUE_LIST || (asked->type == VALUE_TEXT && clause->detail != CONDITION_ALL);
		case CONDITION_STARTS_WITH:
		case CONDITION_ENDS_WITH:
		case CONDITION_HAS_WORD:
			return asked->type == VALUE_TEXT;
		default:
			return false;
	}
}

static PeriodUnit
period_unit(uint8 detail)
{
	switch (detail)
	{
		case CONDITION_WEEKS:
			return PERIOD_WEEK;
		case CONDITION_MONTHS:
			return PERIOD_MONTH;
		case CONDITION_QUARTERS:
			return PERIOD_QUARTER;
		case CONDITION_HALF_YEARS:
			return PERIOD_HALF_YEAR;
		case CONDITION_YEARS:
			return PERIOD_YEAR;
		default:
			return PERIOD_BLOCK;
	}
}

static void
bind_period(const ConditionNode *clause, BoundNode *node)
{
	ConditionNode period;

	segment_condition_child(clause, 1, &period);
	node->period.unit = period_unit(period.detail);
	node->period.n = (int32) period.number;
	if (node->period.unit == PERIOD_BLOCK)
		bind_error(clause, ERRCODE_FEATURE_NOT_SUPPORTED,
				   "this_period and last_period are blocks of a ladder, and this condition belongs to none",
				   "Name the unit: this_month, this_quarter, this_half_year, this_year.");
}

/* COMPARE with another figure of the same type. */
static void
bind_other(Binder *binder, const ConditionNode *clause, const Asked *asked, BoundNode *node)
{
	ConditionNode other;
	ConditionNode factor;

	segment_condition_child(clause, 1, &other);
	if (asked->type != VALUE_NUMBER && asked->type != VALUE_DATE)
		bind_error(clause, ERRCODE_DATATYPE_MISMATCH,
				   psprintf("%s is a %s and cannot be compared with another figure", asked->what,
							segment_value_type_name(asked->type)),
				   "Compare numbers with numbers and dates with dates.");
	if (asked->figure == NULL)
		bind_error(clause, ERRCODE_FEATURE_NOT_SUPPORTED,
				   psprintf("%s is a field of an event and cannot be compared with a figure of the customer", asked->what),
				   "Compare it with a value.");
	node->other = bind_figure(binder, &other);
	if (clause->nchildren > 2 && node->other->type != VALUE_NUMBER)
		bind_error(clause, ERRCODE_DATATYPE_MISMATCH,
				   psprintf("%s is a %s and cannot be multiplied", node->other->text,
							segment_value_type_name(node->other->type)),
				   "Leave the factor out.");
	if (node->other->type != asked->type)
		bind_error(clause, ERRCODE_DATATYPE_MISMATCH,
				   psprintf("%s is a %s and cannot be compared with %s, which is a %s", asked->what,
							segment_value_type_name(asked->type), node->other->text,
							segment_value_type_name(node->other->type)),
				   "Compare numbers with numbers and dates with dates.");
	if (clause->nchildren > 2)
	{
		segment_condition_child(clause, 2, &factor);
		node->factor = pnstrdup(factor.text, factor.length);
	}
}

static BoundNode *
new_node(ConditionKind kind)
{
	BoundNode  *node = palloc0(sizeof(BoundNode));

	node->kind = kind;
	return node;
}

/* A text of which nothing is left once it is read as texts are compared is never found, or always. */
static void
refuse_empty(const ConditionNode *clause, const Asked *asked, uint8 function, const BoundValue *value)
{
	static const PhoneRules any_rules = {"1", 0, NULL};
	int			length = (int) strlen(value->text);
	text	   *folded = function == CONDITION_UNACCENTED ? segment_unaccent_text(value->text, length)
		: segment_fold_text(value->text, length);
	const char *lacks = NULL;

	if (clause->kind == CONDITION_HAS_WORD)
	{
		if (!segment_has_words_in(folded, folded))
			lacks = "word";
	}
	else if (asked->figure && asked->figure->word->id == WORD_PHONE)
	{
		if (VARSIZE_ANY_EXHDR(segment_phone_pattern_text(value->text, length, &any_rules)) == 0)
			lacks = "digit";
	}
	else if (VARSIZE_ANY_EXHDR(folded) == 0)
		lacks = "letter";
	if (lacks != NULL)
		bind_error(clause, ERRCODE_INVALID_TEXT_REPRESENTATION,
				   psprintf("there is no %s in '%s': a clause on it can never hold, or always does", lacks, value->text),
				   "What is missing is asked with IS NULL.");
}

/* What is left of a clause once it is known what it asks. */
static BoundNode *
bind_asked(Binder *binder, const ConditionNode *clause, const Asked *asked, uint8 function)
{
	BoundNode  *node = new_node((ConditionKind) clause->kind);

	node->detail = clause->detail;
	node->negated = clause->negated;
	node->figure = asked->figure;
	node->type = asked->type;
	node->instant = asked->instant;
	node->unaccented = function == CONDITION_UNACCENTED;
	node->anniversary = function == CONDITION_ANNIVERSARY;
	if (!operator_fits(clause, asked))
		wrong_operator(clause, asked->what, asked->type);
	if (node->unaccented && asked->type != VALUE_TEXT)
		bind_error(clause, ERRCODE_DATATYPE_MISMATCH,
				   psprintf("%s is a %s; only a text has accents to do without", asked->what, segment_value_type_name(asked->type)),
				   "Write the name alone.");
	if (node->anniversary && asked->type != VALUE_DATE)
		bind_error(clause, ERRCODE_DATATYPE_MISMATCH,
				   psprintf("%s is a %s; only a date has an anniversary", asked->what, segment_value_type_name(asked->type)),
				   asked->figure ? "Write anniversary(birth_date)." : "Write anniversary(date).");
	if (clause->kind == CONDITION_IS_NULL)
		return node;
	if (clause->kind == CONDITION_DURING)
	{
		bind_period(clause, node);
		return node;
	}
	for (int i = 1; i < clause->nchildren; i++)
	{
		ConditionNode value;

		CHECK_FOR_INTERRUPTS();
		segment_condition_child(clause, i, &value);
		if (i == 1 && value.kind == CONDITION_FIGURE)
		{
			bind_other(binder, clause, asked, node);
			return node;
		}
		if (node->anniversary && value.kind == CONDITION_DATETIME)
			bind_error(clause, ERRCODE_DATATYPE_MISMATCH,
					   psprintf("an anniversary is a day of the year and cannot be compared with %s", shown(&value)),
					   "Write the date alone.");
		node->values = lappend(node->values, bind_value(binder, clause, asked, &value));
		if (asked->type == VALUE_TEXT || asked->type == VALUE_LIST)
			refuse_empty(clause, asked, function, llast(node->values));
	}
	return node;
}

/* birth_day and birth_month are enough for an anniversary of birth_date. */
static BoundFigure *
bind_anniversary_figure(Binder *binder, const ConditionNode *figure)
{
	Source	   *customers = segment_customers_source(binder->set);
	BoundFigure *bound;

	if (strcmp(figure->text, "birth_date") != 0 || customers == NULL || figure->nchildren > 0 ||
		segment_source_column(customers, "birth_date") != NULL ||
		segment_source_column(customers, "birth_day") == NULL ||
		segment_source_column(customers, "birth_month") == NULL)
		return bind_figure(binder, figure);
	bound = palloc0(sizeof(BoundFigure));
	bound->word = segment_word_find("birth_date");
	bound->type = VALUE_DATE;
	bound->text = "birth_date";
	return share_figure(binder, bound);
}

static BoundNode *
bind_clause(Binder *binder, const ConditionNode *clause)
{
	ConditionNode figure;
	Asked		asked = {0};
	const Word *word;

	segment_condition_child(clause, 0, &figure);
	asked.figure = figure.detail == CONDITION_ANNIVERSARY
		? bind_anniversary_figure(binder, &figure) : bind_figure(binder, &figure);
	asked.what = pnstrdup(figure.text, figure.length);
	asked.type = asked.figure->type;
	asked.instant = asked.figure->instant;
	if (asked.type == VALUE_TIER)
		asked.ladder = asked.figure->ladder;
	word = segment_word_find(figure.text);
	asked.takes_numbers = word != NULL && word->id == WORD_SHOPIFY_COLUMN && word->type == VALUE_NUMBER;
	return bind_asked(binder, clause, &asked, figure.detail);
}

/*
 * Events.
 */

static bool
is_line_field(const char *name)
{
	return strcmp(name, "id") == 0 || strcmp(name, "category") == 0;
}

static const EventField *
find_field(Narrowing event, const char *name)
{
	const EventField *field;

	for (int i = 0; (field = segment_event_field(event, i)) != NULL; i++)
	{
		if (strcmp(field->name, name) == 0)
			return field;
	}
	return NULL;
}

/* What a field that judges the events as a whole adds up; NONE for others. */
static Aggregate
field_aggregate(const char *name)
{
	if (strcmp(name, "count") == 0)
		return AGGREGATE_COUNT;
	if (strcmp(name, "sum_amount") == 0)
		return AGGREGATE_AMOUNT;
	if (strcmp(name, "sum_quantity") == 0)
		return AGGREGATE_QUANTITY;
	if (strcmp(name, "sum_points") == 0)
		return AGGREGATE_POINTS;
	return AGGREGATE_NONE;
}

/* Fields of Shopify's that a column of the merchant's own feeds here; location_id is read as branch. */
static const struct
{
	Narrowing	event;
	const char *field;
	const char *function;
}			shopify_fields[] = {
	{NARROW_LINES, "tag", "attach_order_lines"},
	{NARROW_LINES, "quantity", "attach_order_lines"},
	{NARROW_LINES, "branch", "attach_orders"},
	{NARROW_ORDERS, "branch", "attach_orders"},
	{NARROW_SPENT, "branch", "attach_orders"},
};

static void
unknown_field(const ConditionNode *clause, const char *event, Narrowing narrowing, const char *name)
{
	const char *names[16];
	int			n = 0;
	const EventField *field;
	const char *nearest;

	for (int i = 0; i < lengthof(shopify_fields); i++)
	{
		if (shopify_fields[i].event == narrowing && strcmp(shopify_fields[i].field, name) == 0)
			bind_error(clause, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, psprintf("nothing feeds \"%s\" here", name),
					   psprintf("Map it: segment.%s(…, custom => '{\"%s\": …}').", shopify_fields[i].function, name));
	}
	while ((field = segment_event_field(narrowing, n)) != NULL)
		names[n++] = field->name;
	nearest = segment_nearest(name, names, n);
	bind_error(clause, ERRCODE_UNDEFINED_COLUMN,
			   psprintf("%s has no field \"%s\"", event, name),
			   nearest ? psprintf("Perhaps you mean \"%s\".", nearest)
			   : "Columns of your own are mapped by custom => … when attaching; segment.figures shows all fields.");
}

/* What must be mapped for a field of an event to be fed; NULL where it is. */
const char *
segment_missing_field(SourceSet *set, Narrowing event, const char *field)
{
	bool		returns = event == NARROW_RETURN_LINES;
	SourceRole	lines = returns ? ROLE_RETURN_LINES : ROLE_ORDER_LINES;
	const char *attach_lines = returns ? "attach_return_lines" : "attach_order_lines";

	if (strcmp(field, "channel") == 0 || strcmp(field, "items") == 0)
		return segment_is_mapped(set, ROLE_ORDERS, field) ? NULL : psprintf("Map it: segment.attach_orders(…, %s => …).", field);
	if (is_line_field(field))
	{
		const char *column = strcmp(field, "id") == 0 ? "product" : field;

		return segment_is_mapped(set, lines, column) ? NULL : psprintf("Map it: segment.%s(…, %s => …).", attach_lines, column);
	}
	if (strcmp(field, "sum_amount") == 0 && event == NARROW_LINES)
		return segment_is_mapped(set, lines, "amount") ? NULL : "Map the amount of a line: segment.attach_order_lines(…, amount => …).";
	if (strcmp(field, "sum_quantity") == 0 && returns)
		return segment_is_mapped(set, ROLE_RETURNS, "items") || has_role(set, lines) ? NULL
			: "Map the items: segment.attach_returns(…, items => …), or attach the lines of returns: segment.attach_return_lines(…).";
	return NULL;
}

/* What expires is added up from one day to another, see expiry_window(); other clauses would ask for several spans. */
static void
require_span(const ConditionNode *clause, const ConditionNode *field, const char *figure)
{
	bool		spans = clause->kind == CONDITION_BETWEEN || clause->kind == CONDITION_DURING ||
	(clause->kind == CONDITION_COMPARE && clause->detail != CONDITION_NE);

	if (!spans || clause->negated || field->detail == CONDITION_ANNIVERSARY)
		bind_error(clause, ERRCODE_SYNTAX_ERROR, psprintf("%s() takes one span of days", figure),
				   "Write =, <, <=, >, >=, BETWEEN or DURING: points_expiring(date <= +30d).");
}

/* One clause over the fields of an event. */
static BoundNode *
bind_field_clause(Binder *binder, const ConditionNode *clause, const char *event_name, Narrowing event)
{
	ConditionNode figure;
	const EventField *field;
	Asked		asked = {0};
	BoundNode  *node;
	const char *name;
	const char *missing;

	if (clause->kind < CONDITION_COMPARE || clause->kind > CONDITION_HAS_WORD)
		bind_error(clause, ERRCODE_SYNTAX_ERROR, "only clauses can stand here, joined by commas or AND",
				   "Write OR and NOT around the whole.");
	segment_condition_child(clause, 0, &figure);
	field = find_field(event, figure.text);
	if (figure.nchildren > 0)
		bind_error(clause, ERRCODE_SYNTAX_ERROR, psprintf("\"%s\" is a field here, not a figure", figure.text),
				   "A field takes no parentheses: date >= -30d.");
	if (event == NARROW_EXPIRY)
		require_span(clause, &figure, event_name);
	asked.what = name = pnstrdup(figure.text, figure.length);
	if (field != NULL)
	{
		asked.type = field->type;
		asked.instant = event != NARROW_EXPIRY; /* points expire on days */
		asked.takes_numbers = strcmp(name, "id") == 0 || strcmp(name, "channel") == 0;
		missing = segment_missing_field(binder->set, event, name);
		if (missing != NULL)
			bind_error(clause, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, psprintf("nothing feeds \"%s\" here", name), missing);
	}
	else
	{
		Source	   *source;

		if (strncmp(name, "custom.", 7) != 0)
			name = psprintf("custom.%s", name);
		source = segment_custom_source(binder->set, event, name);
		if (source == NULL)
			unknown_field(clause, event_name, event, asked.what);
		asked.type = segment_column_type(segment_source_column(source, name), &asked.instant);
		asked.takes_numbers = strcmp(name, "custom.branch") == 0;
	}
	node = bind_asked(binder, clause, &asked, figure.detail);
	node->field = name;
	return node;
}

/* The clauses behind a figure that adds up events. */
static void
bind_narrowing(Binder *binder, const ConditionNode *node, BoundFigure *figure)
{
	for (int i = 0; i < node->nchildren; i++)
	{
		ConditionNode clause;
		BoundNode  *bound;

		segment_condition_child(node, i, &clause);
		bound = bind_field_clause(binder, &clause, node->text, figure->event);
		if (field_aggregate(bound->field) != AGGREGATE_NONE)
			bind_error(&clause, ERRCODE_SYNTAX_ERROR,
					   psprintf("\"%s\" judges events as a whole and cannot narrow %s", bound->field, node->text),
					   "Use it in MATCHES.");
		figure->narrow = lappend(figure->narrow, bound);
	}
}

/* A figure that adds up the events that a MATCHES leaves. */
static BoundFigure *
event_figure(Binder *binder, const Word *word, Aggregate aggregate, List *narrow, const char *text)
{
	BoundFigure *figure = palloc0(sizeof(BoundFigure));

	figure->word = word;
	figure->type = VALUE_NUMBER;
	figure->event = word->narrowing;
	figure->aggregate = aggregate;
	figure->narrow = narrow;
	figure->text = text;
	return share_figure(binder, figure);
}

/* MATCHES: sums and counts over the events that all other clauses leave, compared. */
static BoundNode *
bind_matches(Binder *binder, const ConditionNode *clause)
{
	ConditionNode event;
	const Word *word;
	ValueType	type;
	List	   *narrow = NIL;
	List	   *wholes = NIL;
	char	   *text;
	StringInfoData narrowed;
	BoundNode  *node;
	ListCell   *cell;

	segment_condition_child(clause, 0, &event);
	word = segment_word_find(event.text);
	if (word != NULL)
		refuse_unfed(binder, &event, word);
	type = word != NULL ? word->type : bind_custom(binder, &event)->type;
	if (type != VALUE_EVENT)
		bind_error(clause, ERRCODE_DATATYPE_MISMATCH, psprintf("%s is a %s, not an event", event.text,
															   segment_value_type_name(type)),
				   "MATCHES is for orders_placed, products_purchased, returns_made, offers_used and points_earned.");
	initStringInfo(&narrowed);
	appendStringInfo(&narrowed, "%s(", word->name);
	for (int i = 1; i < clause->nchildren; i++)
	{
		ConditionNode child;
		BoundNode  *bound;

		segment_condition_child(clause, i, &child);
		bound = bind_field_clause(binder, &child, word->name, word->narrowing);
		if (field_aggregate(bound->field) != AGGREGATE_NONE)
			wholes = lappend(wholes, bound);
		else
		{
			appendStringInfo(&narrowed, "%s%s", narrow == NIL ? "" : ", ", segment_condition_node_text(&child));
			narrow = lappend(narrow, bound);
		}
	}
	appendStringInfoChar(&narrowed, ')');
	text = narrowed.data;

	if (wholes == NIL)
	{
		BoundValue *one = palloc0(sizeof(BoundValue));

		node = new_node(CONDITION_COMPARE);
		node->detail = CONDITION_GE;
		node->type = VALUE_NUMBER;
		one->kind = CONDITION_NUMBER;
		one->text = "1";
		node->values = list_make1(one);
		node->figure = event_figure(binder, word, AGGREGATE_COUNT, narrow, text);
	}
	else
	{
		node = new_node(CONDITION_AND);
		foreach(cell, wholes)
		{
			BoundNode  *whole = lfirst(cell);

			whole->figure = event_figure(binder, word, field_aggregate(whole->field), narrow, text);
			whole->field = NULL;
			whole->instant = false;
			node->children = lappend(node->children, whole);
		}
	}
	if (clause->negated)
	{
		BoundNode  *negation = new_node(CONDITION_NOT);

		negation->children = list_make1(node);
		return negation;
	}
	return node;
}

static BoundNode *
bind_node(Binder *binder, const ConditionNode *node)
{
	BoundNode  *bound;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	switch ((ConditionKind) node->kind)
	{
		case CONDITION_OR:
		case CONDITION_AND:
		case CONDITION_NOT:
			bound = new_node((ConditionKind) node->kind);
			for (int i = 0; i < node->nchildren; i++)
			{
				ConditionNode child;

				segment_condition_child(node, i, &child);
				bound->children = lappend(bound->children, bind_node(binder, &child));
			}
			return bound;
		case CONDITION_TRUE:
		case CONDITION_FALSE:
			return new_node((ConditionKind) node->kind);
		case CONDITION_MATCHES:
			return bind_matches(binder, node);
		default:
			return bind_clause(binder, node);
	}
}

/*
 * Groups.
 */

/*
 * Codes of groups that a condition names, in their order; with all, it asks
 * whether there is any.
 */
static List *
named_groups(const ConditionNode *node, List *codes, bool *all)
{
	ConditionNode child;

	check_stack_depth();
	if (node->kind <= CONDITION_NOT)
	{
		for (int i = 0; i < node->nchildren; i++)
		{
			segment_condition_child(node, i, &child);
			codes = named_groups(&child, codes, all);
		}
		return codes;
	}
	if (node->kind < CONDITION_COMPARE || node->kind >= CONDITION_MATCHES)
		return codes;
	segment_condition_child(node, 0, &child);
	if (strcmp(child.text, "groups") != 0)
		return codes;
	*all |= node->kind == CONDITION_IS_NULL;
	for (int i = 1; i < node->nchildren; i++)
	{
		CHECK_FOR_INTERRUPTS();
		segment_condition_child(node, i, &child);
		if (child.kind == CONDITION_TEXT)
			codes = lappend(codes, pnstrdup(child.text, child.length));
	}
	return codes;
}

/* Codes of the groups that a condition names. */
List *
segment_named_groups(const Condition *condition)
{
	ConditionNode root;
	bool		all = false;

	segment_condition_root(condition, &root);
	return named_groups(&root, NIL, &all);
}

/* a condition of a group being bound where errors are collected */
typedef struct Attempt
{
	Binder	   *binder;
	GroupRow   *row;
} Attempt;

static void
bind_condition_of(Binder *binder, GroupRow *row)
{
	ConditionNode root;

	bound_group = row->group.code;
	segment_condition_root(row->condition, &root);
	row->group.root = bind_node(binder, &root);
	bound_group = NULL;
}

static void
attempt_condition(void *argument)
{
	Attempt    *attempt = argument;

	bind_condition_of(attempt->binder, attempt->row);
}

/* What an error says, in one line. */
static char *
told(const ErrorData *error)
{
	StringInfoData line;

	initStringInfo(&line);
	appendStringInfo(&line, "%s.", error->message);
	if (error->detail)
		appendStringInfo(&line, " %s.", error->detail);
	if (error->hint)
		appendStringInfo(&line, " %s", error->hint);
	return line.data;
}

static void
bind_group(Binder *binder, GroupRow *row)
{
	if (!row->group.fixed && row->condition != NULL && row->group.fault == NULL &&
		(row->group.active || binder->inactive_too))
	{
		if (!binder->collects)
			bind_condition_of(binder, row);
		else
		{
			Attempt		attempt = {binder, row};
			int			nfigures = list_length(binder->figures);
			ErrorData  *error = segment_try(attempt_condition, &attempt);

			if (error != NULL)
			{
				bound_group = NULL;
				row->group.root = NULL;
				row->group.fault = told(error);
				binder->figures = list_truncate(binder->figures, nfigures);
			}
		}
	}
	row->state = ROW_IS_BOUND;
	binder->done = lappend(binder->done, &row->group);
}

/* A group that is met again on the way down from itself. */
static void
refuse_cycle(Binder *binder, GroupRow *row)
{
	StringInfoData members;
	char	   *message;
	ListCell   *cell;
	bool		inside = false;

	initStringInfo(&members);
	foreach(cell, binder->path)
	{
		GroupRow   *member = lfirst(cell);

		inside |= member == row;
		if (inside)
			appendStringInfo(&members, "%s -> ", member->group.code);
	}
	message = psprintf("condition of group \"%s\" uses itself through %s%s", row->group.code, members.data, row->group.code);
	if (!binder->collects)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_RECURSION),
				 errmsg_internal("%s", message),
				 errhint("Leave one of them out of the condition of the one before.")));
	row->group.fault = message;
}

static void use_groups(Binder *binder, const Condition *condition);

/* Bind a group after the groups that its condition names. */
static void
use_group(Binder *binder, GroupRow *row)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (row->state == ROW_IS_BOUND)
		return;
	if (row->state == ROW_BEING_BOUND)
	{
		refuse_cycle(binder, row);
		return;
	}
	row->state = ROW_BEING_BOUND;
	if (row->condition != NULL && (row->group.active || binder->inactive_too))
	{
		binder->path = lappend(binder->path, row);
		use_groups(binder, row->condition);
		binder->path = list_delete_last(binder->path);
	}
	bind_group(binder, row);
}

/* Bind the groups that a condition names. */
static void
use_groups(Binder *binder, const Condition *condition)
{
	ConditionNode root;
	bool		all = false;
	List	   *codes;
	ListCell   *cell;

	segment_condition_root(condition, &root);
	codes = named_groups(&root, NIL, &all);
	if (codes != NIL || all)
		read_groups(binder);
	foreach(cell, codes)
	{
		GroupRow   *row = find_group(binder, lfirst(cell));

		if (row != NULL)		/* else it is an error when the condition is bound */
			use_group(binder, row);
	}
	for (int i = 0; all && i < binder->ngroups; i++)
		use_group(binder, &binder->groups[i]);
}

static void
begin_binding(Binder *binder, SourceSet *set)
{
	memset(binder, 0, sizeof(Binder));
	binder->set = set;
	binder->bound = palloc0(sizeof(Bound));
	bound_group = NULL;
}

static Bound *
end_binding(Binder *binder)
{
	Bound	   *bound = binder->bound;
	ListCell   *cell;
	int			i = 0;

	bound->nfigures = list_length(binder->figures);
	bound->figures = palloc(sizeof(BoundFigure *) * Max(bound->nfigures, 1));
	foreach(cell, binder->figures)
		bound->figures[i++] = lfirst(cell);
	bound->ngroups = list_length(binder->done);
	bound->groups = palloc(sizeof(BoundGroup *) * Max(bound->ngroups, 1));
	i = 0;
	foreach(cell, binder->done)
		bound->groups[i++] = lfirst(cell);
	for (int j = 0; j < bound->ngroups; j++)
	{
		BoundGroup *group = bound->groups[j];

		while (group->instead_of != 0 && bound->groups[group->present]->id != group->instead_of)
			group->present++;
	}
	return bound;
}

/*
 * Look up the names of conditions; equal figures share a slot.  The conditions
 * of groups that they name, also through those of other groups, come with them.
 * Allocated in the current context, together with parts of the set and of the
 * conditions that it points to.  Raises what does not fit.  Must run inside SPI.
 */
Bound *
segment_bind(SourceSet *set, int nconditions, const Condition *const *conditions)
{
	Binder		binder;

	begin_binding(&binder, set);
	binder.bound->nroots = nconditions;
	binder.bound->roots = palloc(sizeof(BoundNode *) * Max(nconditions, 1));
	for (int i = 0; i < nconditions; i++)
	{
		ConditionNode root;

		segment_condition_root(conditions[i], &root);
		binder.bound->roots[i] = bind_node(&binder, &root);
	}
	binder.bound->nasked = list_length(binder.figures);
	for (int i = 0; i < nconditions; i++)
		use_groups(&binder, conditions[i]);
	return end_binding(&binder);
}

/* The group of that code, which must be there. */
static GroupRow *
asked_group(Binder *binder, const char *code)
{
	GroupRow   *row = find_group(binder, code);
	const char *nearest = row ? NULL : nearest_group(binder, code);

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no group \"%s\"", code),
				 nearest ? errhint("Perhaps you mean \"%s\".", nearest) : errhint("segment.groups has them.")));
	if (row->group.fixed)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("group \"%s\" is fixed and has no condition", code),
				 errhint("Only an automatic group is filled by a condition.")));
	return row;
}

/*
 * The condition of an automatic group, whether it is active or not; NULL where
 * it has none.  Raises where there is no such group.  Must run inside SPI.
 */
const Condition *
segment_group_condition(SourceSet *set, const char *code, bool *active)
{
	Binder		binder;
	GroupRow   *row;

	begin_binding(&binder, set);
	read_groups(&binder);
	row = asked_group(&binder, code);
	*active = row->group.active;
	return row->condition;
}

/*
 * Bind the conditions of all groups of the shop.  One that does not bind has a
 * fault and no root, and so have those that use it: with it missing, NOT would
 * take in everybody.  Where code is given, that group is judged by another
 * condition, active or not, and what is wrong with that is raised.
 */
Bound *
segment_bind_groups(SourceSet *set, const char *code, const Condition *instead)
{
	Binder		binder;

	begin_binding(&binder, set);
	read_groups(&binder);
	binder.collects = true;
	if (code != NULL)
	{
		GroupRow   *row = asked_group(&binder, code);

		row->condition = instead;
		row->group.active = true;
		binder.collects = false;
		use_group(&binder, row);
		binder.collects = true;
	}
	for (int i = 0; i < binder.ngroups; i++)
		use_group(&binder, &binder.groups[i]);
	return end_binding(&binder);
}

/*
 * Bind all conditions that customers are judged by: those of all groups of the
 * shop, and those that are to take the place of some.
 */
Bound *
segment_bind_rules(SourceSet *set)
{
	Binder		binder;
	GroupRow   *pending;
	int			npending;

	begin_binding(&binder, set);
	read_groups(&binder);
	binder.collects = true;
	for (int i = 0; i < binder.ngroups; i++)
		use_group(&binder, &binder.groups[i]);
	pending = read_pending(&binder, &npending);
	for (int i = 0; i < npending; i++)
		use_group(&binder, &pending[i]);
	return end_binding(&binder);
}

/* Raise what does not bind of the groups with these ids, whether they are active or not. */
void
segment_bind_saved(SourceSet *set, const int *ids, int n)
{
	Binder		binder;

	begin_binding(&binder, set);
	read_groups(&binder);
	binder.inactive_too = true;
	for (int i = 0; i < binder.ngroups; i++)
	{
		for (int j = 0; j < n; j++)
		{
			if (binder.groups[i].group.id == ids[j])
				use_group(&binder, &binder.groups[i]);
		}
	}
}

/* Whether a figure comes from the customers' own row: shown to whoever may read that. */
bool
segment_is_personal(const BoundFigure *figure)
{
	return figure->word->column != NULL || figure->word->id == WORD_CUSTOM;
}
