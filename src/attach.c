/*
 * attach.c
 *		Attach and detach the merchant's tables.
 *
 * Mistakes are refused here, when they are made, so that no sale ever meets
 * them: arguments are parsed with the caller's search_path, checked for type,
 * volatility and dependence on the session, and kept as a view.
 */
#include "segment.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "bound.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "classify.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "configuration.h"
#include "ddl.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "judge.h"
#include "recalculate.h"
#include "row.h"
#include "saved_plan.h"
#include "source.h"
#include "stale.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#if PG_VERSION_NUM >= 160000
#define is_owner(relid, role) object_ownercheck(RelationRelationId, relid, role)
#else
#define is_owner(relid, role) pg_class_ownercheck(relid, role)
#endif

PG_FUNCTION_INFO_V1(segment_attach_customers);
PG_FUNCTION_INFO_V1(segment_attach_orders);
PG_FUNCTION_INFO_V1(segment_attach_returns);
PG_FUNCTION_INFO_V1(segment_attach_order_lines);
PG_FUNCTION_INFO_V1(segment_attach_return_lines);
PG_FUNCTION_INFO_V1(segment_attach_points);
PG_FUNCTION_INFO_V1(segment_attach_offers);
PG_FUNCTION_INFO_V1(segment_attach_tags);
PG_FUNCTION_INFO_V1(segment_attachments_changed);
PG_FUNCTION_INFO_V1(segment_detach);
PG_FUNCTION_INFO_V1(segment_watched);
PG_FUNCTION_INFO_V1(segment_index_advice);

/* what an argument must be */
typedef enum ArgumentKind
{
	KIND_KEY,
	KIND_CUSTOMER,
	KIND_MONEY,
	KIND_POINTS,
	KIND_INSTANT,
	KIND_TEXT,
	KIND_TEXT_LIST,
	KIND_DATE,
	KIND_NUMBER,
	KIND_NAME,					/* of a product, a category: compared as text */
	KIND_CUSTOM,				/* the merchant's own: any scalar or list */
	KIND_CONDITION
} ArgumentKind;

typedef struct Argument
{
	const char *name;			/* in SQL, and of the view's column */
	int			position;		/* in the call */
	ArgumentKind kind;
	const char *column;			/* of the view, where it is not the name */
} Argument;

/* one attach_…() function */
typedef struct RoleArguments
{
	SourceRole	role;
	int			nexpressions;
	const Argument *expressions;
	int			required;		/* so many arguments after the table have no default */
	int			at_zone;
	int			watch;
	int			custom;
	int			fill;
	SourceRole	parent;			/* whose rows these rows name, where they can */
	int			parent_table;	/* which table of that role, 0 where there is no parent */
} RoleArguments;

#define CUSTOMERS_ANONYMOUS_ARGUMENT 19
#define CUSTOMERS_POINTS_ARGUMENT 23

static const Argument customers_arguments[] = {
	{"key", 1, KIND_KEY, NULL},
	{"name", 2, KIND_TEXT, NULL},
	{"given_name", 3, KIND_TEXT, NULL},
	{"phone", 4, KIND_TEXT, NULL},
	{"email", 5, KIND_TEXT, NULL},
	{"sex", 6, KIND_TEXT, NULL},
	{"birth_date", 7, KIND_DATE, NULL},
	{"birth_day", 8, KIND_NUMBER, NULL},
	{"birth_month", 9, KIND_NUMBER, NULL},
	{"birth_year", 10, KIND_NUMBER, NULL},
	{"address", 11, KIND_TEXT, NULL},
	{"country", 12, KIND_TEXT_LIST, NULL},
	{"region", 13, KIND_TEXT_LIST, NULL},
	{"city", 14, KIND_TEXT_LIST, NULL},
	{"ward", 15, KIND_TEXT_LIST, NULL},
	{"tags", 16, KIND_TEXT_LIST, NULL},
	{"member_since", 17, KIND_INSTANT, NULL},
	{"added_at", 18, KIND_INSTANT, NULL},
	{"counted_when", 20, KIND_CONDITION, "counted"},
	{"points", CUSTOMERS_POINTS_ARGUMENT, KIND_POINTS, NULL},
};

static const Argument orders_arguments[] = {
	{"customer", 1, KIND_CUSTOMER, NULL},
	{"amount", 2, KIND_MONEY, NULL},
	{"at", 3, KIND_INSTANT, NULL},
	{"key", 4, KIND_KEY, NULL},
	{"currency", 6, KIND_TEXT, NULL},
	{"counted_when", 7, KIND_CONDITION, "counted"},
	{"items", 9, KIND_NUMBER, NULL},
	{"channel", 10, KIND_NAME, NULL},
};

static const Argument returns_arguments[] = {
	{"amount", 1, KIND_MONEY, NULL},
	{"at", 2, KIND_INSTANT, NULL},
	{"customer", 3, KIND_CUSTOMER, NULL},
	{"order_key", 4, KIND_KEY, NULL},
	{"key", 5, KIND_KEY, NULL},
	{"currency", 7, KIND_TEXT, NULL},
	{"counted_when", 8, KIND_CONDITION, "counted"},
	{"items", 11, KIND_NUMBER, NULL},
};

static const Argument order_lines_arguments[] = {
	{"order_key", 1, KIND_KEY, NULL},
	{"product", 2, KIND_NAME, NULL},
	{"category", 3, KIND_NAME, NULL},
	{"quantity", 4, KIND_NUMBER, NULL},
	{"amount", 5, KIND_MONEY, NULL},
	{"key", 6, KIND_KEY, NULL},
	{"counted_when", 8, KIND_CONDITION, "counted"},
};

static const Argument return_lines_arguments[] = {
	{"return_key", 1, KIND_KEY, NULL},
	{"product", 2, KIND_NAME, NULL},
	{"category", 3, KIND_NAME, NULL},
	{"quantity", 4, KIND_NUMBER, NULL},
	{"amount", 5, KIND_MONEY, NULL},
	{"key", 6, KIND_KEY, NULL},
	{"counted_when", 8, KIND_CONDITION, "counted"},
};

static const Argument points_arguments[] = {
	{"key", 4, KIND_KEY, NULL},
	{"customer", 1, KIND_CUSTOMER, NULL},
	{"points", 2, KIND_POINTS, NULL},
	{"at", 3, KIND_INSTANT, NULL},
	{"valid_from", 6, KIND_INSTANT, NULL},
	{"expires_at", 7, KIND_INSTANT, NULL},
	{"counted_when", 8, KIND_CONDITION, "counted"},
};

static const Argument offers_arguments[] = {
	{"key", 4, KIND_KEY, NULL},
	{"customer", 1, KIND_CUSTOMER, NULL},
	{"offer", 2, KIND_NAME, NULL},
	{"at", 3, KIND_INSTANT, NULL},
	{"counted_when", 6, KIND_CONDITION, "counted"},
};

static const Argument tags_arguments[] = {
	{"customer", 1, KIND_CUSTOMER, NULL},
	{"tag", 2, KIND_TEXT, NULL},
	{"counted_when", 4, KIND_CONDITION, "counted"},
};

static const RoleArguments customers_role = {
	ROLE_CUSTOMERS, lengthof(customers_arguments), customers_arguments,
	.required = 1, .at_zone = 21, .watch = 22, .custom = 24, .fill = 25
};
static const RoleArguments orders_role = {
	ROLE_ORDERS, lengthof(orders_arguments), orders_arguments,
	.required = 3, .at_zone = 5, .watch = 8, .custom = 11, .fill = 12
};
static const RoleArguments returns_role = {
	ROLE_RETURNS, lengthof(returns_arguments), returns_arguments,
	.required = 2, .at_zone = 6, .watch = 9, .custom = 12, .fill = 13, .parent = ROLE_ORDERS, .parent_table = 10
};
static const RoleArguments order_lines_role = {
	ROLE_ORDER_LINES, lengthof(order_lines_arguments), order_lines_arguments,
	.required = 1, .at_zone = 7, .watch = 9, .custom = 11, .fill = 12, .parent = ROLE_ORDERS, .parent_table = 10
};
static const RoleArguments return_lines_role = {
	ROLE_RETURN_LINES, lengthof(return_lines_arguments), return_lines_arguments,
	.required = 1, .at_zone = 7, .watch = 9, .custom = 11, .fill = 12, .parent = ROLE_RETURNS, .parent_table = 10
};
static const RoleArguments points_role = {
	ROLE_POINTS, lengthof(points_arguments), points_arguments,
	.required = 3, .at_zone = 5, .watch = 9, .custom = 10, .fill = 11
};
static const RoleArguments offers_role = {
	ROLE_OFFERS, lengthof(offers_arguments), offers_arguments,
	.required = 3, .at_zone = 5, .watch = 7, .custom = 8, .fill = 9
};
static const RoleArguments tags_role = {
	ROLE_TAGS, lengthof(tags_arguments), tags_arguments,
	.required = 2, .at_zone = 3, .watch = 5, .custom = 6, .fill = 7
};

/* an attach call on its way */
typedef struct Attachment
{
	FunctionCallInfo fcinfo;
	const RoleArguments *arguments;
	Oid			relid;
	Relation	relation;
	char	   *path;			/* the caller's search_path, spelled out */
	char	   *zone;			/* in which timestamps without zone are read */
	bool		reads_zone;		/* some are */
	bool		watches;		/* the watch argument names a table */
	bool		has_subquery;
	const char *naive_column;	/* an "at" without zone, for the notice */
	StringInfoData columns;		/* select list of the mapping */
	StringInfoData given;		/* arguments as given, for jsonb */
	bool		has[FIELD_COUNT];	/* of those that matter below */
	AttrNumber	key_attno;
	Oid			key_type;
	Oid			customer_type;
	AttrNumber	parent_key_attno;
	Oid			parent_key_type;
	SourceSet  *set;
	int			id;
	Source	   *parent;			/* whose rows order_key or return_key names */
	bool		fill;			/* count at once what is there, with writers kept out */
} Attachment;

/* for errors that the server raises about an argument */
typedef struct ArgumentContext
{
	ErrorContextCallback callback;
	SourceRole	role;
	const char *name;
	const char *text;
	const char *hint;			/* for errors that come with none of ours */
} ArgumentContext;

/* Say which argument it is, and let the position point into its text. */
static void
argument_context(void *arg)
{
	ArgumentContext *context = arg;
	int			position = geterrposition();

	if (position > 0 && context->text != NULL)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(context->text);
	}
	switch (geterrcode())
	{
		case ERRCODE_SYNTAX_ERROR:
		case ERRCODE_GROUPING_ERROR:
		case ERRCODE_WINDOWING_ERROR:
		case ERRCODE_INVALID_TEXT_REPRESENTATION:
			if (context->hint != NULL)
				errhint("%s", context->hint);
			break;
		default:
			break;				/* others bring their own, such as the nearest column */
	}
	errcontext("argument \"%s\" of segment.attach_%s()", context->name,
			   segment_role_name(context->role));
}

static void
enter_argument(ArgumentContext *context, SourceRole role, const char *name, const char *text)
{
	context->callback.callback = argument_context;
	context->callback.arg = context;
	context->callback.previous = error_context_stack;
	context->role = role;
	context->name = name;
	context->text = text;
	context->hint = text != NULL
		? "Give a column name or an SQL expression over the table's row, without aggregates."
		: "Give keys of the type of the customers' key.";
	error_context_stack = &context->callback;
}

static void
leave_argument(ArgumentContext *context)
{
	error_context_stack = context->callback.previous;
}

static char *
text_argument(FunctionCallInfo fcinfo, int position)
{
	return PG_ARGISNULL(position) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(position));
}

/*
 * The table.
 */

static void
refuse_relation(Relation relation, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot attach \"%s\": it is %s", RelationGetRelationName(relation), what),
			 errhint("%s", hint)));
}

/* Partitions are what the table itself may be. */
static void
check_partitions(Relation relation)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(RelationGetRelid(relation), NoLock, NULL))
	{
		Relation	partition = try_relation_open(lfirst_oid(cell), AccessShareLock);
		const char *what = NULL;

		if (partition == NULL)
			continue;			/* dropped meanwhile */
		if (partition->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
			what = "foreign";
		else if (partition->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
			what = "unlogged";
		else if (partition->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
			what = "temporary";
		if (what != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("cannot attach \"%s\": its partition \"%s\" is %s", RelationGetRelationName(relation),
							RelationGetRelationName(partition), what),
					 errhint("Every partition must be an ordinary table; detach this one or make it such.")));
		relation_close(partition, AccessShareLock);
	}
}

static void
check_relation(Relation relation)
{
	static const char *const plain = "Attach an ordinary table.";
	Oid			namespace = RelationGetNamespace(relation);

	switch (relation->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_FOREIGN_TABLE:
			refuse_relation(relation, "a foreign table", "Its rows change on another server, unseen here; attach the table there, or an ordinary table that is fed from it.");
			break;
		case RELKIND_VIEW:
			refuse_relation(relation, "a view", "Attach the tables that the view reads, with expressions.");
			break;
		case RELKIND_MATVIEW:
			refuse_relation(relation, "a materialized view", "Attach the tables that it reads, with expressions.");
			break;
		default:
			refuse_relation(relation, "not a table", plain);
	}
	if (IsSystemRelation(relation) || namespace == get_namespace_oid("segment", true))
		refuse_relation(relation, "not a table of the shop", plain);
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		refuse_relation(relation, "a temporary table", plain);
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		refuse_relation(relation, "an unlogged table", "It would be empty after a crash while the figures are not; use ALTER TABLE … SET LOGGED.");
	if (relation->rd_rel->relispartition)
		refuse_relation(relation, "a partition", "Statements on the partitioned table above it would not be seen.");
	if (has_superclass(RelationGetRelid(relation)))
		refuse_relation(relation, "an inheritance child", "Statements on the table above it would not be seen.");
	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		check_partitions(relation);
	else if (find_inheritance_children(RelationGetRelid(relation), NoLock) != NIL)
		refuse_relation(relation, "a table with inheritance children", "Statements on the children would not be seen; attach a table without children.");
}

/*
 * Lock a table against writers, as CREATE TRIGGER will.  Sales queue behind us
 * while we wait, so the wait is bounded by segment.lock_timeout.  Writers who
 * name a partition lock that alone, so everything below is locked too.
 */
static void
lock_table(Oid relid)
{
	segment_lock_bounded(relid);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		(void) find_all_inheritors(relid, ShareRowExclusiveLock, NULL);
}

/* Open a table that may be attached, or watched; with_lock keeps its writers out. */
static Relation
open_table(Oid relid, bool with_lock)
{
	Relation	relation;

	if (!is_owner(relid, GetUserId()))
	{
		char	   *name = get_rel_name(relid);

		if (name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation with OID %u does not exist", relid)));
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, name);
	}
	relation = relation_open(relid, AccessShareLock);
	check_relation(relation);
	if (with_lock)
	{
		lock_table(relid);
		check_relation(relation);	/* nobody alters it any more */
	}
	return relation;
}

/*
 * Expressions.
 */

/* The parse tree of exactly one expression. */
static Node *
parse_expression(ArgumentContext *context, const char *name, const char *text)
{
	List	   *statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;
	const char *hint = context->hint;
	ResTarget  *target;

	context->hint = NULL;		/* these have better ones */
	if (!IsA(select, SelectStmt) || list_length(select->targetList) != 1 ||
		select->fromClause || select->whereClause || select->groupClause || select->havingClause ||
		select->windowClause || select->valuesLists || select->sortClause || select->limitOffset ||
		select->limitCount || select->lockingClause || select->withClause || select->distinctClause ||
		select->intoClause || select->op != SETOP_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("argument \"%s\" is not one expression: %s", name, text),
				 errhint("Give a column name or an SQL expression over the table's row; put a subquery in parentheses.")));
	target = linitial_node(ResTarget, select->targetList);
	if (target->name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("argument \"%s\" has an alias: %s", name, text),
				 errhint("Give the expression alone.")));
	context->hint = hint;
	return target->val;
}

typedef struct VolatilityCheck
{
	Oid			volatile_function;
	Oid			session_function;
	Oid			stable_function;	/* of the merchant's */
} VolatilityCheck;

static const char *sql_value_function;

static bool
check_function(Oid funcid, void *context)
{
	VolatilityCheck *check = context;

	switch (func_volatile(funcid))
	{
		case PROVOLATILE_IMMUTABLE:
			break;
		case PROVOLATILE_VOLATILE:
			check->volatile_function = funcid;
			break;
		default:
			if (funcid == F_NOW || funcid == F_TRANSACTION_TIMESTAMP || funcid == F_STATEMENT_TIMESTAMP)
				sql_value_function = "the time of the transaction";
			else if (funcid < FirstNormalObjectId)
				check->session_function = funcid;
			else
				check->stable_function = funcid;
	}
	return false;
}

static bool
volatility_walker(Node *node, VolatilityCheck *check)
{
	if (node == NULL)
		return false;
	check_functions_in_node(node, check_function, check);
	if (IsA(node, SQLValueFunction))
		sql_value_function = "CURRENT_DATE, CURRENT_TIMESTAMP, CURRENT_USER or their like";
	if (IsA(node, NextValueExpr))
		sql_value_function = "nextval";
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, volatility_walker, check, 0);
	return expression_tree_walker(node, volatility_walker, check);
}

/* Refuse what would not give the same value again for the same rows. */
static void
check_volatility(Attachment *attachment, const Argument *argument, Node *expr, const char *text)
{
	VolatilityCheck check = {InvalidOid, InvalidOid, InvalidOid};
	static const char *const rule = "The value must follow from the rows alone, whoever asks and whenever.";

	sql_value_function = NULL;
	volatility_walker(expr, &check);
	if (OidIsValid(check.volatile_function))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("argument \"%s\" is volatile: %s", argument->name, text),
				 errdetail("Function %s is volatile. %s", format_procedure(check.volatile_function), rule),
				 errhint("Use IMMUTABLE functions only.")));
	if (sql_value_function)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("argument \"%s\" depends on the clock or the session: %s", argument->name, text),
				 errdetail("It uses %s. %s", sql_value_function, rule),
				 errhint("Use columns of the table instead.")));
	if (OidIsValid(check.session_function))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("argument \"%s\" depends on a setting of the session: %s", argument->name, text),
				 errdetail("%s gives another value under another setting, such as TimeZone or DateStyle. %s",
						   format_procedure(check.session_function), rule),
				 errhint("Name the time zone: … AT TIME ZONE 'Asia/Ho_Chi_Minh'.")));
	if (OidIsValid(check.stable_function) && !attachment->watches)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("argument \"%s\" calls a STABLE function: %s", argument->name, text),
				 errdetail("What %s reads cannot be seen from the expression.", format_procedure(check.stable_function)),
				 errhint("Declare it IMMUTABLE if it reads nothing; write the subquery in its place; or name the tables that it reads in watch.")));
}

static bool
has_subquery_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		return true;
	return expression_tree_walker(node, has_subquery_walker, context);
}

static void
wrong_type(const Argument *argument, const char *text, Oid type, const char *allowed, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("argument \"%s\" has type %s: %s", argument->name, format_type_be(type), text),
			 errdetail("Allowed: %s.", allowed),
			 errhint("%s", hint)));
}

static bool
is_text_type(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == NAMEOID;
}

static bool
is_integer_type(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/* Types whose values are equal exactly if their texts are, or see to it themselves. */
static bool
is_plain_key_type(Oid type)
{
	return is_integer_type(type) || type == NUMERICOID || type == UUIDOID || type == TEXTOID || type == VARCHAROID;
}

/* Whether values of a customer argument can be customers' keys. */
static bool
fits_key(Oid type, Oid key)
{
	if (is_integer_type(type))
		return is_integer_type(key);
	if (is_text_type(type))
		return key == TEXTOID;
	return type == key;
}

static char *
instant_sql(Attachment *attachment, const Argument *argument, const char *sql, const char *text, Oid type)
{
	switch (type)
	{
		case TIMESTAMPTZOID:
			return psprintf("(%s\n)", sql);
		case TIMESTAMPOID:
		case DATEOID:
			attachment->reads_zone = true;
			if (strcmp(argument->name, "at") == 0)
				attachment->naive_column = sql;
			return psprintf("pg_catalog.timezone(%s, (%s\n)::pg_catalog.timestamp)",
							quote_literal_cstr(attachment->zone), sql);
		default:
			wrong_type(argument, text, type, "timestamp with time zone, timestamp, date",
					   "Cast it, naming the zone where it has none: to_timestamp(seconds) for numbers.");
	}
	return NULL;
}

/* A column of the merchant's own: a text, a number, a date, an instant, yes or no, or a list of texts. */
static char *
custom_sql(Attachment *attachment, const Argument *argument, const char *sql,
		   const char *text, Oid given_type)
{
	Oid			type = getBaseType(given_type);
	Oid			element = get_base_element_type(type);

	if (is_text_type(type) || type == UUIDOID || get_typtype(type) == TYPTYPE_ENUM)
		return psprintf("(%s\n)::pg_catalog.text", sql);
	if (is_integer_type(type) || type == NUMERICOID || type == FLOAT4OID || type == FLOAT8OID)
		return psprintf("(%s\n)::pg_catalog.numeric", sql);
	if (type == BOOLOID)
		return psprintf("(%s\n)", sql);
	if (type == DATEOID)
		return psprintf("(%s\n)::pg_catalog.date", sql);
	if (type == TIMESTAMPOID || type == TIMESTAMPTZOID)
		return instant_sql(attachment, argument, sql, text, type);
	if (OidIsValid(element) && (is_text_type(element) || is_integer_type(element) || element == UUIDOID ||
								get_typtype(element) == TYPTYPE_ENUM))
		return psprintf("(%s\n)::pg_catalog.text[]", sql);
	wrong_type(argument, text, given_type,
			   "text, enum, uuid, numbers, boolean, date, timestamp, and arrays of texts, enums, integers or uuids",
			   "Cast it, such as (…)::text; take values out of json with ->>.");
	return NULL;
}

/* The view's column for an expression of some type; refuses what does not fit. */
static char *
column_sql(Attachment *attachment, const Argument *argument, const char *sql,
		   const char *text, Oid given_type)
{
	Oid			type = getBaseType(given_type);

	switch (argument->kind)
	{
		case KIND_MONEY:
			if (type == FLOAT4OID || type == FLOAT8OID || type == CASHOID)
				wrong_type(argument, text, given_type, "numeric, bigint, integer, smallint",
						   type == CASHOID ? "Cast it: amount::numeric; the type money depends on lc_monetary."
						   : "Floating point cannot add up money exactly; change the column to numeric, or cast at a stated scale: round(amount::numeric, 2).");
			if (type != NUMERICOID && !is_integer_type(type))
				wrong_type(argument, text, given_type, "numeric, bigint, integer, smallint",
						   "Cast it: (…)::numeric.");
			return psprintf("(%s\n)::pg_catalog.numeric", sql);
		case KIND_POINTS:
			if (type != NUMERICOID && !is_integer_type(type))
				wrong_type(argument, text, given_type, "numeric, bigint, integer, smallint",
						   type == FLOAT4OID || type == FLOAT8OID
						   ? "Floating point cannot add up points exactly; change the column to numeric, or cast at a stated scale: round(points::numeric, 2)."
						   : "Cast it: (…)::numeric.");
			return psprintf("(%s\n)::pg_catalog.numeric", sql);
		case KIND_INSTANT:
			return instant_sql(attachment, argument, sql, text, type);
		case KIND_DATE:
			if (type != DATEOID)
				wrong_type(argument, text, given_type, "date", "Cast it: (…)::date, naming the zone for timestamps.");
			return psprintf("(%s\n)::pg_catalog.date", sql);
		case KIND_NUMBER:
			if (!is_integer_type(type) && type != NUMERICOID)
				wrong_type(argument, text, given_type, "integer, numeric", "Cast it: (…)::integer.");
			return psprintf("(%s\n)::pg_catalog.numeric", sql);
		case KIND_NAME:
			if (!is_text_type(type) && !is_integer_type(type) && type != UUIDOID)
				wrong_type(argument, text, given_type, "text, varchar, char, integer, bigint, uuid", "Cast it: (…)::text.");
			return psprintf("(%s\n)::pg_catalog.text", sql);
		case KIND_CUSTOM:
			return custom_sql(attachment, argument, sql, text, given_type);
		case KIND_TEXT:
			if (!is_text_type(type))
				wrong_type(argument, text, given_type, "text, varchar, char", "Cast it: (…)::text.");
			return psprintf("(%s\n)::pg_catalog.text", sql);
		case KIND_TEXT_LIST:
			if (is_text_type(type))
				return psprintf("(%s\n)::pg_catalog.text", sql);
			if (!OidIsValid(get_element_type(type)) || !is_text_type(get_element_type(type)))
				wrong_type(argument, text, given_type, "text, text[]", "Cast it: (…)::text or (…)::text[].");
			return psprintf("(%s\n)::pg_catalog.text[]", sql);
		case KIND_CONDITION:
			if (type != BOOLOID)
				wrong_type(argument, text, given_type, "boolean",
						   "Write a condition: status = 'completed', deleted_at IS NULL.");
			return psprintf("COALESCE((%s\n), false)", sql);
		case KIND_CUSTOMER:
			if (!fits_key(type, attachment->set->key_type))
				wrong_type(argument, text, given_type, format_type_be(attachment->set->key_type),
						   "It must give the key of the customers table.");
			return psprintf(type == BPCHAROID || type == NAMEOID ? "(%s\n)::pg_catalog.text" : "(%s\n)", sql);
		case KIND_KEY:
			if ((type == BPCHAROID || type == NAMEOID) && strcmp(argument->name, "key") != 0)
				return psprintf("(%s\n)::pg_catalog.text", sql);
			return psprintf("(%s\n)", sql);
	}
	return NULL;
}

/* Types whose literals are read by the server's own code alone. */
static bool
is_harmless_type(Oid type)
{
	Oid			element = get_element_type(type);

	if (OidIsValid(element))
		type = element;
	return type < FirstNormalObjectId || get_typtype(type) == TYPTYPE_ENUM;
}

static bool
find_refused_walker(Node *node, Node **found)
{
	if (node == NULL || *found != NULL)
		return *found != NULL;
	if ((IsA(node, Const) && !is_harmless_type(((Const *) node)->consttype)) ||
		(IsA(node, Var) && ((Var *) node)->varattno < 0))
	{
		*found = node;
		return true;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_refused_walker, found, 0);
	return expression_tree_walker(node, find_refused_walker, found);
}

/* Refuse literals that code of others reads, and system columns, which a trigger's rows have not. */
static void
check_constants(const Argument *argument, Node *expr, const char *text)
{
	Node	   *found = NULL;

	(void) find_refused_walker(expr, &found);
	if (found != NULL && IsA(found, Const))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("argument \"%s\" contains a literal of type %s: %s", argument->name,
						format_type_be(((Const *) found)->consttype), text),
				 errhint("Use a literal of a built-in type, or compare the column cast to one.")));
	if (found != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("argument \"%s\" uses a system column: %s", argument->name, text),
				 errhint("Use the table's own columns.")));
}

/* Keys and currencies are compared byte by byte. */
static void
check_collation(const Argument *argument, Node *expr, const char *text)
{
	Oid			collation = exprCollation(expr);

	if ((argument->kind == KIND_KEY || argument->kind == KIND_CUSTOMER || strcmp(argument->name, "currency") == 0) &&
		OidIsValid(collation) && !get_collation_isdeterministic(collation))
		ereport(ERROR,
				(errcode(ERRCODE_INDETERMINATE_COLLATION),
				 errmsg("argument \"%s\" has a nondeterministic collation: %s", argument->name, text),
				 errhint("Keys and currencies are compared byte by byte; give an expression with another collation, such as lower(…) COLLATE \"C\".")));
}

/* Check one argument and add it to the mapping. */
static void
read_argument(Attachment *attachment, const Argument *argument, const char *text)
{
	ParseState *parse = make_parsestate(NULL);
	ParseNamespaceItem *item;
	ArgumentContext context;
	AttrNumber	attno = get_attnum(attachment->relid, text);
	const char *sql = attno > 0 ? quote_identifier(text) : text;
	Node	   *expr;
	Oid			type;
	Identity	caller;

	enter_argument(&context, attachment->arguments->role, argument->name, sql);
	/* reading a literal can run code of whoever made its type */
	segment_become_merchant(attachment->relation->rd_rel->relowner, attachment->path, &caller);
	parse->p_sourcetext = sql;
	item = addRangeTableEntryForRelation(parse, attachment->relation, AccessShareLock, NULL, false, true);
	addNSItemToQuery(parse, item, false, true, true);
	expr = transformExpr(parse, parse_expression(&context, argument->name, sql), EXPR_KIND_WHERE);
	type = exprType(expr);
	if (type == UNKNOWNOID)
	{
		expr = coerce_type(parse, expr, type, TEXTOID, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
		type = TEXTOID;
	}
	assign_expr_collations(parse, expr);
	segment_resume(&caller);
	check_constants(argument, expr, text);
	check_collation(argument, expr, text);
	leave_argument(&context);

	check_volatility(attachment, argument, expr, text);
	if (has_subquery_walker(expr, NULL))
		attachment->has_subquery = true;
	appendStringInfo(&attachment->columns, "%s%s AS %s", attachment->columns.len ? ", " : "",
					 column_sql(attachment, argument, sql, text, type),
					 argument->column ? argument->column : quote_identifier(argument->name));
	if (argument->kind == KIND_CUSTOM)
	{
		free_parsestate(parse);
		return;
	}
	if (strcmp(argument->name, "key") == 0)
	{
		attachment->has[FIELD_KEY] = true;
		attachment->key_attno = attno;
		attachment->key_type = getBaseType(type);
	}
	if (strcmp(argument->name, "customer") == 0)
	{
		attachment->has[FIELD_CUSTOMER] = true;
		attachment->customer_type = getBaseType(type);
	}
	if (strcmp(argument->name, "order_key") == 0 || strcmp(argument->name, "return_key") == 0)
	{
		attachment->has[FIELD_PARENT_KEY] = true;
		attachment->parent_key_attno = attno > 0 && is_virtual_column(attachment->relid, attno) ? 0 : attno;
		attachment->parent_key_type = getBaseType(type);
	}
	if (strcmp(argument->name, "items") == 0 || strcmp(argument->name, "quantity") == 0)
		attachment->has[FIELD_ITEMS] = true;
	if (strcmp(argument->name, "currency") == 0)
		attachment->has[FIELD_CURRENCY] = true;
	if (argument->kind == KIND_CONDITION)
		attachment->has[FIELD_COUNTED] = true;
	free_parsestate(parse);
}

/* Names of the columns by which a partitioned table, or one below it, is partitioned. */
static List *
partition_columns(Relation relation)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(RelationGetRelid(relation), AccessShareLock, NULL))
	{
		Relation	part = table_open(lfirst_oid(cell), NoLock);
		PartitionKey key = RelationGetPartitionKey(part);

		for (int i = 0; key != NULL && i < key->partnatts; i++)
		{
			if (key->partattrs[i] != 0)
				names = lappend(names, get_attname(RelationGetRelid(part), key->partattrs[i], false));
		}
		table_close(part, NoLock);
	}
	return names;
}

/*
 * Whether an index keeps a column unique by itself; on a partitioned table the
 * columns that it is partitioned by may be there too, since the server asks for
 * them.
 */
static bool
keeps_unique(Relation relation, Relation index, AttrNumber attno)
{
	bool		found = false;
	List	   *partitioned_by = NIL;

	if (!index->rd_index->indisunique || !index->rd_index->indisvalid ||
		!index->rd_index->indimmediate || RelationGetIndexPredicate(index) != NIL)
		return false;
	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		partitioned_by = partition_columns(relation);
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	column = index->rd_index->indkey.values[i];
		ListCell   *cell;
		bool		allowed = column == attno;

		found |= allowed;
		foreach(cell, partitioned_by)
			allowed |= column != 0 && strcmp(lfirst(cell), get_attname(RelationGetRelid(relation), column, false)) == 0;
		if (!allowed)
			return false;
	}
	return found;
}

/* Whether a column alone is unique, by an index over all rows that is in use. */
static bool
is_unique_column(Relation relation, AttrNumber attno)
{
	ListCell   *cell;
	bool		found = false;

	if (attno <= 0)
		return false;
	foreach(cell, RelationGetIndexList(relation))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found |= keeps_unique(relation, index, attno);
		index_close(index, AccessShareLock);
	}
	return found;
}

static void
require_unique_key(Relation relation, AttrNumber attno, const char *why)
{
	if (!is_unique_column(relation, attno))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("key of \"%s\" must be a column with a unique index of its own", RelationGetRelationName(relation)),
				 errdetail("%s", why),
				 errhint("Name such a column as key, or create one: CREATE UNIQUE INDEX … without WHERE, on that column alone.")));
}

/* The key of a source whose rows are read again by it. */
static void
require_ledger_key(Attachment *attachment)
{
	require_unique_key(attachment->relation, attachment->key_attno,
					   "What its rows mean depends on other tables, so they are read again by key.");
	if (!TupleDescAttr(RelationGetDescr(attachment->relation), attachment->key_attno - 1)->attnotnull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("key of \"%s\" may be NULL", RelationGetRelationName(attachment->relation)),
				 errdetail("What its rows mean depends on other tables, so they are read again by key."),
				 errhint("ALTER TABLE … ALTER COLUMN … SET NOT NULL.")));
	if (attachment->key_type == BPCHAROID || attachment->key_type == NAMEOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("key of \"%s\" has type %s", RelationGetRelationName(attachment->relation),
						format_type_be(attachment->key_type)),
				 errhint("Attach with a unique column of another type as key, such as text or varchar.")));
}

/* Customers' keys: the type in which everything of ours is made. */
static Oid
customers_key_type(Attachment *attachment)
{
	switch (attachment->key_type)
	{
		case INT2OID:
		case INT4OID:
			return INT4OID;
		case INT8OID:
		case UUIDOID:
		case TEXTOID:
			return attachment->key_type;
		case VARCHAROID:
			return TEXTOID;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("key of \"%s\" has type %s", RelationGetRelationName(attachment->relation),
							format_type_be(attachment->key_type)),
					 errdetail("Allowed: integer, bigint, uuid, text."),
					 errhint("Attach with another unique column as key.")));
	}
	return InvalidOid;
}

/*
 * Writing it down.
 */

static void
add_given(Attachment *attachment, const char *name, const char *json)
{
	appendStringInfo(&attachment->given, "%s\"%s\": %s", attachment->given.len > 1 ? ", " : "", name, json);
}

static char *
json_string(const char *text)
{
	StringInfoData json;

	initStringInfo(&json);
	escape_json(&json, text);
	return json.data;
}

/* Whether a name can be written in a condition: letters, digits and "_". */
static bool
is_figure_name(const char *name)
{
	return strlen(name) <= NAMEDATALEN - 1 - strlen("custom.") &&
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name) &&
		name[0] >= 'a' && name[0] <= 'z';
}

/* The merchant's own columns: each is a column "custom.NAME" of the mapping. */
static void
read_custom(Attachment *attachment)
{
	FunctionCallInfo fcinfo = attachment->fcinfo;
	int			position = attachment->arguments->custom;
	Oid			type = JSONBOID;
	Datum		value;
	SPITupleTable *table;
	uint64		n;

	if (PG_ARGISNULL(position))
		return;
	value = PG_GETARG_DATUM(position);
	if (!JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(position)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"custom\" is not a JSON object"),
				 errhint("Give names and columns or expressions: '{\"branch\": \"branch_code\"}'.")));
	segment_execute_with("SELECT c.key, CASE WHEN pg_catalog.jsonb_typeof(c.value) OPERATOR(pg_catalog.=) 'string'"
						 " THEN c.value OPERATOR(pg_catalog.#>>) '{}' END FROM pg_catalog.jsonb_each($1) c",
						 1, &type, &value, NULL, true, NULL, NULL);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		char	   *name = SPI_getvalue(table->vals[i], table->tupdesc, 1);
		char	   *text = SPI_getvalue(table->vals[i], table->tupdesc, 2);
		Argument	argument = {.kind = KIND_CUSTOM, .name = psprintf("custom.%s", name)};

		if (!is_figure_name(name))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("\"%s\" in argument \"custom\" is not a name", name),
					 errhint("Use lower-case letters, digits and \"_\", a letter first, at most 56 in all.")));
		if (text == NULL || text[strspn(text, " \t\r\n")] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" in argument \"custom\" is not a column or an expression", name),
					 errhint("Give it as a JSON string: '{\"%s\": \"a column name or an SQL expression\"}'.", name)));
		read_argument(attachment, &argument, text);
	}
	if (n > 0)
		add_given(attachment, "custom", DatumGetCString(DirectFunctionCall1(jsonb_out, value)));
}

/* Read every argument of the call. */
static void
read_arguments(Attachment *attachment)
{
	const RoleArguments *role = attachment->arguments;

	for (int i = 0; i < role->nexpressions; i++)
	{
		const Argument *argument = &role->expressions[i];
		char	   *text = text_argument(attachment->fcinfo, argument->position);

		if (text == NULL)
		{
			/* ledgers of points are read as one, so all have these columns */
			if (role->role == ROLE_POINTS && argument->kind == KIND_INSTANT)
				appendStringInfo(&attachment->columns, ", NULL::pg_catalog.timestamptz AS %s", argument->name);
			continue;
		}
		if (text[strspn(text, " \t\r\n")] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"%s\" is empty", argument->name),
					 errhint("Give a column name or an SQL expression over the table's row, or leave the argument out.")));
		read_argument(attachment, argument, text);
		add_given(attachment, argument->name, json_string(text));
	}
	read_custom(attachment);
	if (!attachment->has[FIELD_COUNTED])
		appendStringInfoString(&attachment->columns, ", true AS counted");
	if (segment_is_lines(role->role) && !attachment->has[FIELD_ITEMS])
		appendStringInfoString(&attachment->columns, ", 1::pg_catalog.numeric AS quantity");
}

/* "AND a column lies between two bounds", or is NULL where it may be. */
static char *
between_sql(const char *column, const char *type, const char *above, const char *from, const char *to, bool may_be_null)
{
	char	   *both = psprintf("m.%1$s OPERATOR(pg_catalog.%2$s) '%3$s'::pg_catalog.%5$s"
								" AND m.%1$s OPERATOR(pg_catalog.<) '%4$s'::pg_catalog.%5$s",
								column, above, from, to, type);

	return may_be_null ? psprintf(" AND (m.%s IS NULL OR %s)", column, both) : psprintf(" AND %s", both);
}

/* "AND the number can be added up" */
static char *
number_sql(const char *column, bool may_be_null)
{
	return between_sql(column, "numeric", ">", "-1e30", "1e30", may_be_null);
}

/* "AND it is a time in the years 1 to 9999" */
static char *
time_sql(const char *column, bool may_be_null)
{
	return between_sql(column, "timestamptz", ">=", "0001-01-01 00:00:00+00", "10000-01-01 00:00:00+00", may_be_null);
}

/* Whether a row counts for anything: one column of the mapping view. */
static const char *
counts_sql(Attachment *attachment)
{
	switch (attachment->arguments->role)
	{
		case ROLE_CUSTOMERS:
			return "m.counted";
		case ROLE_ORDERS:
		case ROLE_RETURNS:
			return psprintf("COALESCE(m.counted%s%s%s%s, false)", number_sql("amount", false), time_sql("at", false),
							attachment->has[FIELD_ITEMS] ? number_sql("items", true) : "",
							attachment->has[FIELD_CURRENCY]
							? psprintf(" AND m.currency OPERATOR(pg_catalog.=) %s::pg_catalog.text",
									   quote_literal_cstr(segment_setting("currency"))) : "");
		case ROLE_ORDER_LINES:
		case ROLE_RETURN_LINES:
			return psprintf("COALESCE(m.counted%s, false)", number_sql("quantity", false));
		case ROLE_POINTS:
			return psprintf("COALESCE(m.counted%s%s%s%s, false)", number_sql("points", false), time_sql("at", false),
							time_sql("valid_from", true), time_sql("expires_at", true));
		case ROLE_OFFERS:
			return psprintf("COALESCE(m.counted AND m.offer IS NOT NULL%s, false)", time_sql("at", false));
		case ROLE_TAGS:
			return "COALESCE(m.counted AND m.tag IS NOT NULL, false)";
	}
	return NULL;
}

/* The caller's search_path spelled out, as it is before we act as somebody else. */
static char *
callers_path(void)
{
	StringInfoData path;
	ListCell   *cell;

	initStringInfo(&path);
	foreach(cell, fetch_search_path(false))
		appendStringInfo(&path, "%s%s", path.len ? ", " : "",
						 quote_identifier(get_namespace_name(lfirst_oid(cell))));
	if (path.len == 0)
		appendStringInfoString(&path, "pg_catalog");
	return path.data;
}

/*
 * Create the view that is the mapping.  It belongs to the owner of ours, so that
 * nobody else can make it say something else; what it says is evaluated as the
 * table's owner.
 */
static void
create_mapping(Attachment *attachment)
{
	Identity	caller;
	int			level;

	segment_become(attachment->set->owner, &caller);
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", attachment->path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	segment_execute(psprintf("CREATE VIEW segment.source_%d AS SELECT m.*, %s AS counts FROM (SELECT %s FROM %s) AS m",
							 attachment->id, counts_sql(attachment), attachment->columns.data,
							 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(attachment->relation)),
														RelationGetRelationName(attachment->relation))));
	AtEOXact_GUC(true, level);
	segment_execute(psprintf("COMMENT ON VIEW segment.source_%d IS %s", attachment->id,
							 quote_literal_cstr(psprintf("what segment reads of %s as %s",
														 RelationGetRelationName(attachment->relation),
														 segment_role_name(attachment->arguments->role)))));
	segment_resume(&caller);
}

/* Whether the table is attached or watched. */
static bool
is_needed(SourceSet *set, Oid relid)
{
	return segment_sources_of(set, list_make1_oid(relid)) != NIL;
}

/* Take our triggers off a table, unless a source still needs them. */
static void
drop_triggers(SourceSet *set, Oid relid)
{
	if (is_needed(set, relid) || get_rel_name(relid) == NULL)
		return;
	segment_take_triggers(set->owner, relid);
	/* a partition of a table that is attached keeps those that it has as such */
	if (segment_sources_of(set, segment_with_ancestors(relid)) != NIL)
		segment_put_triggers(set->owner, relid);
}

/* What each row of a linked source counts for is kept in a table of its own. */
static void
create_ledger(Attachment *attachment)
{
	Identity	caller;

	segment_become(attachment->set->owner, &caller);
	segment_execute(psprintf("CREATE TABLE segment.counted_%d (key %s NOT NULL, customer_id %s NOT NULL,"
							 " amount numeric, at timestamptz, items numeric)", attachment->id,
							 format_type_be_qualified(attachment->has[FIELD_KEY] ? attachment->key_type
													  : attachment->parent_key_type),
							 attachment->set->key_type_name));
	/* in several partitions a key may repeat */
	segment_execute(psprintf(attachment->has[FIELD_KEY] && get_rel_relkind(attachment->relid) == RELKIND_PARTITIONED_TABLE
							 ? "CREATE INDEX counted_%1$d_key ON segment.counted_%1$d (key)"
							 : "ALTER TABLE segment.counted_%1$d ADD PRIMARY KEY (key)", attachment->id));
	segment_execute(psprintf("CREATE INDEX counted_%1$d_customer ON segment.counted_%1$d (customer_id)", attachment->id));
	segment_execute(psprintf("REVOKE ALL ON segment.counted_%d FROM PUBLIC", attachment->id));
	segment_execute(psprintf("COMMENT ON TABLE segment.counted_%d IS %s", attachment->id,
							 quote_literal_cstr(psprintf("what each row of %s counts for now (internal)",
														 RelationGetRelationName(attachment->relation)))));
	segment_resume(&caller);
}

static void
register_source(Attachment *attachment, Datum watch)
{
	Oid			types[7] = {INT4OID, REGCLASSOID, TEXTOID, JSONBOID, INT4OID, REGCLASSARRAYOID, BOOLOID};
	Datum		values[7];
	char		nulls[8] = "       ";
	Identity	caller;

	appendStringInfoChar(&attachment->given, '}');
	values[0] = Int32GetDatum(attachment->id);
	values[1] = ObjectIdGetDatum(attachment->relid);
	values[2] = CStringGetTextDatum(segment_role_name(attachment->arguments->role));
	values[3] = DirectFunctionCall1(jsonb_in, CStringGetDatum(attachment->given.data));
	values[4] = Int32GetDatum(attachment->parent ? attachment->parent->id : 0);
	nulls[4] = attachment->parent ? ' ' : 'n';
	values[5] = watch;
	values[6] = BoolGetDatum(!attachment->fill);
	segment_become(attachment->set->owner, &caller);
	segment_execute_with("INSERT INTO segment.attachments (id, relation, role, arguments, order_source, watch, filling)"
						 " VALUES ($1, $2, $3, $4, $5, $6, $7)", 7, types, values, nulls, false, NULL, NULL);
	segment_resume(&caller);
}

/* One attach at a time.  The caller acts as the owner of ours. */
static void
lock_attachments(void)
{
	segment_execute("LOCK TABLE segment.attachments IN SHARE ROW EXCLUSIVE MODE");
}

/* Before anything is read: one attach at a time, and a number for the new source. */
static void
reserve(Attachment *attachment)
{
	Identity	caller;
	bool		isnull;

	segment_become(attachment->set->owner, &caller);
	lock_attachments();
	segment_execute("SELECT nextval('segment.source_id')::integer");
	attachment->id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	segment_resume(&caller);
}

/* The customers table's points argument as it was given, or NULL. */
static char *
points_of_customers(SourceSet *set)
{
	Source	   *customers = segment_customers_source(set);
	Identity	caller;

	if (customers == NULL)
		return NULL;
	segment_become(set->owner, &caller);
	segment_execute(psprintf("SELECT a.arguments ->> 'points' FROM segment.attachments a WHERE a.id = %d", customers->id));
	segment_resume(&caller);
	return SPI_processed == 0 ? NULL : SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/* The balance is a column of the customers or follows from a ledger, not both. */
static void
check_points(Attachment *attachment)
{
	FunctionCallInfo fcinfo = attachment->fcinfo;
	SourceRole	role = attachment->arguments->role;
	SourceSet  *set = attachment->set;
	char	   *column = role == ROLE_POINTS ? points_of_customers(set) : NULL;

	if (column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("cannot attach \"%s\" as points: customers have their balance in %s",
						RelationGetRelationName(attachment->relation), segment_customers_source(set)->name),
				 errdetail("They were attached with points => %s.", quote_literal_cstr(column)),
				 errhint("Use one of the two: to read a ledger, attach the customers without points.")));
	for (int i = 0; i < set->nsources; i++)
	{
		if (role == ROLE_CUSTOMERS && !PG_ARGISNULL(CUSTOMERS_POINTS_ARGUMENT) && set->sources[i].role == ROLE_POINTS)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("argument \"points\" is given, but %s is attached as points", set->sources[i].name),
					 errdetail("The balance follows from that ledger."),
					 errhint("Use one of the two: leave points out, or call segment.detach(%s, role => 'points') first.",
							 quote_literal_cstr(set->sources[i].name))));
	}
}

/* Refuse a table that plays the role already. */
static void
check_not_attached(Attachment *attachment, const Source *source)
{
	SourceRole	role = attachment->arguments->role;

	if (source->role != role)
		return;
	if (source->relid == attachment->relid)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is already attached as %s", RelationGetRelationName(attachment->relation),
						segment_role_name(role)),
				 errhint("To change the mapping, call segment.detach(%s, role => '%s') first.",
						 quote_literal_cstr(source->name), segment_role_name(role))));
	if (role == ROLE_CUSTOMERS)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table %s is already attached as customers", source->name),
				 errdetail("There is one customers table."),
				 errhint("Detach it first, or attach a table that holds all customers.")));
}

static void
check_role(Attachment *attachment)
{
	SourceRole	role = attachment->arguments->role;
	SourceSet  *set = attachment->set;

	for (int i = 0; i < set->nsources; i++)
		check_not_attached(attachment, &set->sources[i]);
	check_points(attachment);
	if (role != ROLE_CUSTOMERS && !OidIsValid(set->facts))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no customers table is attached"),
				 errhint("Call segment.attach_customers() first: everything else is counted by its key.")));
}

/* The source whose rows order_key or return_key names. */
static Source *
find_parent(Attachment *attachment, const char *argument)
{
	SourceSet  *set = attachment->set;
	FunctionCallInfo fcinfo = attachment->fcinfo;
	const RoleArguments *role = attachment->arguments;
	Oid			wanted = PG_ARGISNULL(role->parent_table) ? InvalidOid : PG_GETARG_OID(role->parent_table);
	const char *kind = segment_role_name(role->parent);
	Source	   *found = NULL;
	int			n = 0;

	for (int i = 0; i < set->nsources; i++)
	{
		if (set->sources[i].role != role->parent ||
			(OidIsValid(wanted) && set->sources[i].relid != wanted))
			continue;
		found = &set->sources[i];
		n++;
	}
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 OidIsValid(wanted)
				 ? errmsg("argument \"%s\" names %s, but the table given as %s is not attached", argument, kind, kind)
				 : errmsg("argument \"%s\" names %s, but no %s are attached", argument, kind, kind),
				 errhint("Call segment.attach_%s() first.", kind)));
	if (n > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_COLUMN),
				 errmsg("argument \"%s\" could name rows of several attached tables", argument),
				 errhint("Say which: %s => 'shop.%s'.", kind, kind)));
	return found;
}

/* Lines without a key are looked up by the column that names their order or return. */
static void
require_key_of_lines(Attachment *attachment, const char *argument)
{
	if (attachment->parent_key_attno > 0 && attachment->parent_key_type != BPCHAROID &&
		attachment->parent_key_type != NAMEOID)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("argument \"%s\" must be a column of type integer, bigint, uuid, text or varchar", argument),
			 errdetail("Lines without a key are found by it."),
			 errhint("Name such a column, or give the lines' own key => …; then \"%s\" may be an expression.", argument)));
}

/* The customer, order or return that rows name, as far as the role asks for it. */
static void
check_parent_key(Attachment *attachment)
{
	const RoleArguments *role = attachment->arguments;
	const char *argument = segment_field_column(role->role, FIELD_PARENT_KEY);
	Source	   *parent;
	Relation	relation;

	if (role->parent_table == 0)
		return;
	if (role->role == ROLE_RETURNS && !attachment->has[FIELD_CUSTOMER] && !attachment->has[FIELD_PARENT_KEY])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("returns need a customer or an order_key"),
				 errhint("Give customer => … (a column or a subquery) or order_key => …, one is enough.")));
	if (!attachment->has[FIELD_PARENT_KEY])
		return;
	if (segment_is_lines(role->role) && !attachment->has[FIELD_KEY])
		require_key_of_lines(attachment, argument);
	parent = attachment->parent = find_parent(attachment, argument);
	if (!parent->fields[FIELD_KEY].mapped)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s %s were attached without a key", segment_role_name(role->parent), parent->name),
				 errhint("Detach them and attach them again with key => ….")));
	if (!is_plain_key_type(getBaseType(parent->fields[FIELD_KEY].type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("key of %s has type %s, by which rows of others cannot name it", parent->name,
						format_type_be(parent->fields[FIELD_KEY].type)),
				 errdetail("Allowed: smallint, integer, bigint, numeric, uuid, text, varchar."),
				 errhint("Detach it and attach it again with another unique column as key.")));
	relation = table_open(parent->relid, AccessShareLock);
	require_unique_key(relation, parent->fields[FIELD_KEY].attno,
					   role->parent == ROLE_ORDERS ? "Rows of others name orders by it." : "Rows of others name returns by it.");
	table_close(relation, AccessShareLock);
	if (!fits_key(attachment->parent_key_type, getBaseType(parent->fields[FIELD_KEY].type)) &&
		!(is_text_type(attachment->parent_key_type) && is_text_type(getBaseType(parent->fields[FIELD_KEY].type))))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("argument \"%s\" has type %s, but the key of %s has type %s", argument,
						format_type_be(attachment->parent_key_type), parent->name,
						format_type_be(parent->fields[FIELD_KEY].type)),
				 errhint("It must give the key of the %s; cast it.", segment_role_name(role->parent))));
}

/* Keys that stand for walk-in customers must be of the key's type. */
static void
read_anonymous_keys(Attachment *attachment, Oid key_type)
{
	FunctionCallInfo fcinfo = attachment->fcinfo;
	ArgumentContext context;
	StringInfoData json;
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	Oid			input;
	Oid			ioparam;

	if (PG_ARGISNULL(CUSTOMERS_ANONYMOUS_ARGUMENT))
		return;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(CUSTOMERS_ANONYMOUS_ARGUMENT), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, &nulls, &n);
	getTypeInputInfo(key_type, &input, &ioparam);
	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	enter_argument(&context, ROLE_CUSTOMERS, "anonymous", NULL);
	for (int i = 0; i < n; i++)
	{
		char	   *key;

		if (nulls[i])
			continue;			/* NULL is anonymous anyway */
		key = TextDatumGetCString(elements[i]);
		(void) OidInputFunctionCall(input, key, ioparam, -1);
		appendStringInfo(&json, "%s%s", json.len > 1 ? ", " : "", json_string(key));
	}
	leave_argument(&context);
	appendStringInfoChar(&json, ']');
	add_given(attachment, "anonymous", json.data);
}

static void
check_zone(const char *zone)
{
	Oid			types[1] = {TEXTOID};
	Datum		value = CStringGetTextDatum(zone);

	segment_execute_with("SELECT FROM pg_catalog.pg_timezone_names n"
						 " WHERE pg_catalog.lower(n.name) OPERATOR(pg_catalog.=) pg_catalog.lower($1)",
						 1, types, &value, NULL, true, NULL, NULL);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known", zone),
				 errhint("Use a name of pg_timezone_names, such as 'Asia/Ho_Chi_Minh' or 'UTC'.")));
}

/* Tables given in watch are locked and looked at as the attached one is. */
static Datum
read_watch(Attachment *attachment, int position)
{
	FunctionCallInfo fcinfo = attachment->fcinfo;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(position))
		return PointerGetDatum(construct_empty_array(REGCLASSOID));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(position), REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT,
					  &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"watch\" contains NULL")));
		relation_close(open_table(DatumGetObjectId(elements[i]), attachment->fill), NoLock);
	}
	attachment->watches = n > 0;
	return PG_GETARG_DATUM(position);
}

typedef struct Newest
{
	Source	   *source;
	char	   *zone;
	char	   *shown[3];
} Newest;

static void
newest_work(void *argument)
{
	Newest	   *newest = argument;
	Identity	caller;

	segment_become_merchant(newest->source->owner, NULL, &caller);
	segment_execute(psprintf("SELECT to_char(n.at AT TIME ZONE %1$s, 'YYYY-MM-DD HH24:MI'),"
							 " to_char(n.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),"
							 " to_char(((n.at AT TIME ZONE %1$s) AT TIME ZONE 'UTC') AT TIME ZONE %1$s, 'YYYY-MM-DD HH24:MI')"
							 " FROM (SELECT max(s.at) AS at FROM %2$s s WHERE isfinite(s.at)) n",
							 quote_literal_cstr(newest->zone), newest->source->mapping_sql));
	segment_resume(&caller);
	for (int i = 0; i < 3; i++)
		newest->shown[i] = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1);
}

/* The newest timestamp without zone, read as the shop's and as UTC. */
static void
explain_zone(Attachment *attachment, Source *source)
{
	Newest		newest = {.source = source, .zone = attachment->zone};

	if (attachment->naive_column == NULL ||
		text_argument(attachment->fcinfo, attachment->arguments->at_zone) != NULL ||
		segment_try(newest_work, &newest) != NULL || newest.shown[0] == NULL)
		return;
	ereport(NOTICE,
			(errmsg("%s of \"%s\" has no time zone and is read in %s", attachment->naive_column,
					RelationGetRelationName(attachment->relation), attachment->zone),
			 errdetail("Its newest value, %s, is then %s in UTC; were it written in UTC, it would be %s in %s.",
					   newest.shown[0], newest.shown[1], newest.shown[2], attachment->zone),
			 errhint("If it is written in UTC, attach with at_zone => 'UTC'.")));
}

/* Without counted_when every row counts: warn where a column looks like a state. */
static void
warn_of_states(Attachment *attachment)
{
	static const char *const names[] = {"status", "state", "order_status", "payment_status", "deleted_at",
	"is_deleted", "deleted", "cancelled_at", "canceled_at", "completed_at"};
	TupleDesc	desc = RelationGetDescr(attachment->relation);

	if (attachment->has[FIELD_COUNTED])
		return;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		StringInfoData values;
		Identity	caller;

		for (int j = 0; j < lengthof(names) && !attribute->attisdropped; j++)
		{
			if (pg_strcasecmp(NameStr(attribute->attname), names[j]) != 0)
				continue;
			segment_become_merchant(attachment->relation->rd_rel->relowner, NULL, &caller);
			segment_execute(psprintf("SELECT v.value, v.n FROM (SELECT CASE WHEN %1$s THEN 'set' ELSE t.%2$s::text END AS value,"
									 " count(*) AS n FROM %3$s t GROUP BY 1) v ORDER BY v.n DESC, v.value LIMIT 8",
									 attribute->atttypid == TIMESTAMPOID || attribute->atttypid == TIMESTAMPTZOID ||
									 attribute->atttypid == DATEOID
									 ? psprintf("t.%s IS NOT NULL", quote_identifier(NameStr(attribute->attname))) : "false",
									 quote_identifier(NameStr(attribute->attname)),
									 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(attachment->relation)),
																RelationGetRelationName(attachment->relation))));
			segment_resume(&caller);
			initStringInfo(&values);
			for (uint64 k = 0; k < SPI_processed; k++)
			{
				char	   *value = SPI_getvalue(SPI_tuptable->vals[k], SPI_tuptable->tupdesc, 1);

				appendStringInfo(&values, "%s%s (%s)", values.len ? ", " : "", value ? value : "NULL",
								 SPI_getvalue(SPI_tuptable->vals[k], SPI_tuptable->tupdesc, 2));
			}
			ereport(WARNING,
					(errmsg("every row of \"%s\" counts, whatever its column \"%s\" says",
							RelationGetRelationName(attachment->relation), NameStr(attribute->attname)),
					 values.len ? errdetail("Its values: %s.", values.data) : 0,
					 errhint("If not every row counts, detach and attach again with counted_when => ….")));
			return;
		}
	}
}

/* Warn of a watched table from whose rows ours cannot be found; lock and trigger the others too. */
static void
watch_links(SourceSet *set, Source *source)
{
	for (int i = 0; i < source->nlinks; i++)
	{
		Link	   *link = &source->links[i];
		Relation	relation = open_table(link->relid, true);
		char	   *watched = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
														 RelationGetRelationName(relation));

		if (!link->traceable)
			ereport(NOTICE,
					(errmsg("any change of %s will mark %s stale", watched, source->name),
					 errdetail("The rows of %s that depend on it cannot be found from its rows.", source->name),
					 errhint("Look it up by one of its columns: (SELECT … FROM %s w WHERE w.column = an expression over the row).",
							 watched)));
		else if (link->may_raise)
			ereport(NOTICE,
					(errmsg("a change of %s may mark %s stale", watched, source->name),
					 errdetail("Rows of %s look it up by an expression that raises for some values; then none can be found.",
							   source->name),
					 errhint("Look it up by an expression that cannot raise, such as a column of the right type.")));
		relation_close(relation, NoLock);
		segment_put_triggers(set->owner, link->relid);
	}
}

/* Rows depend on what their parents depend on: nobody changes that while we fill. */
static void
lock_links_of_parents(SourceSet *set, Source *source)
{
	while (source->parent >= 0)
	{
		source = &set->sources[source->parent];
		for (int i = 0; i < source->nlinks; i++)
			lock_table(source->links[i].relid);
	}
}

static void
create_customer_objects(Attachment *attachment, Oid key_type)
{
	Oid			types[1] = {REGTYPEOID};
	Datum		value = ObjectIdGetDatum(key_type);
	Identity	caller;

	segment_become(attachment->set->owner, &caller);
	segment_execute_with("SELECT segment._create_customer_objects($1)", 1, types, &value, NULL, false, NULL, NULL);
	segment_resume(&caller);
}

/* Read the sources anew after a change of ours. */
static SourceSet *
reread(SourceSet *set)
{
	segment_sources_changed(set->attachments);
	segment_sources_release();
	return segment_sources_acquire();
}

/* A library that was updated before the extension reads arguments of its own version only. */
static void
require_this_version(FunctionCallInfo fcinfo, int nargs)
{
	if (PG_NARGS() != nargs)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the library of extension \"segment\" is of another version than the extension"),
				 errhint("ALTER EXTENSION segment UPDATE; SELECT segment.upgrade();")));
}

/* Whether a table of ours remembers what each row counts for. */
static bool
has_ledger(const Source *source)
{
	return source->linked && source->role != ROLE_CUSTOMERS && segment_is_counted(source->role);
}

/* Count what the table holds already. */
static void
fill(SourceSet *set, Source *source)
{
	if (!segment_is_counted(source->role))
	{
		segment_lock_facts();
		segment_judge_all(set, NULL, false, CAUSE_ATTACH, source->name, NULL, NULL, NULL);
		ereport(NOTICE, (errmsg("attached %s as %s", source->name, segment_role_name(source->role))));
	}
	else if (segment_is_lines(source->role) && set->sources[source->parent].fields[FIELD_ITEMS].mapped)
	{
		/* items that were counted by the rows themselves are now those of the lines */
		segment_lock_facts();
		segment_recompute(set, (Datum) 0, CAUSE_ATTACH, source->name);
		ereport(NOTICE,
				(errmsg("attached %s as %s: its items count instead of those of %s", source->name,
						segment_role_name(source->role), set->sources[source->parent].name)));
	}
	else
		segment_fill(set, source);
}

/* Leave it to recalculate_in_batches(); until then the source is stale. */
static void
postpone(SourceSet *set, Source *source)
{
	segment_mark_stale(set, source->id, "it was attached without being filled");
	ereport(NOTICE,
			(errmsg("attached %s as %s, not filled yet", source->name, segment_role_name(source->role)),
			 segment_is_counted(source->role)
			 ? errdetail("It is stale, and what is written to it counts for nobody who is not filled.")
			 : errdetail("It is stale until everyone has been judged."),
			 errhint("CALL segment.recalculate_in_batches();")));
}

/*
 * From here on every change of the table is followed, and what it holds already
 * is counted.  What takes time without keeping writers out is done.
 */
static void
follow(Attachment *attachment)
{
	Source	   *source = segment_source_by_id(attachment->set, attachment->id);

	if (!attachment->fill)
	{
		lock_table(attachment->relid);
		check_relation(attachment->relation);
	}
	relation_close(attachment->relation, NoLock);	/* ALTER TABLE wants it so */
	segment_put_triggers(attachment->set->owner, attachment->relid);
	watch_links(attachment->set, source);
	attachment->relation = relation_open(attachment->relid, NoLock);
	if (attachment->fill)
		lock_links_of_parents(attachment->set, source);
	attachment->set = reread(attachment->set);
	source = segment_source_by_id(attachment->set, attachment->id);
	segment_marks_cleared();
	segment_mark_faults(attachment->set, NIL);
	if (attachment->fill)
		fill(attachment->set, source);
	else
		postpone(attachment->set, source);
}

static Datum
attach(FunctionCallInfo fcinfo, const RoleArguments *arguments)
{
	Attachment	attachment = {.fcinfo = fcinfo, .arguments = arguments, .path = callers_path()};
	Datum		watch;
	Source	   *source;
	Oid			key_type = InvalidOid;

	require_this_version(fcinfo, arguments->fill + 1);
	segment_require_read_committed("attach a table");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"table\" is NULL"),
				 errhint("Name the table: 'shop.orders'.")));
	attachment.relid = PG_GETARG_OID(0);
	attachment.fill = PG_ARGISNULL(arguments->fill) || PG_GETARG_BOOL(arguments->fill);
	segment_connect(0);
	attachment.set = segment_sources_acquire();
	attachment.relation = open_table(attachment.relid, attachment.fill);
	reserve(&attachment);
	/* who attached something while we waited is seen now */
	segment_sources_release();
	attachment.set = segment_sources_acquire();
	check_role(&attachment);

	initStringInfo(&attachment.columns);
	initStringInfo(&attachment.given);
	appendStringInfoChar(&attachment.given, '{');
	attachment.zone = text_argument(fcinfo, arguments->at_zone);
	if (attachment.zone)
	{
		check_zone(attachment.zone);
		add_given(&attachment, "at_zone", json_string(attachment.zone));
	}
	else
		attachment.zone = segment_setting("timezone");
	watch = read_watch(&attachment, arguments->watch);
	for (int i = 0; i < arguments->nexpressions; i++)
	{
		const Argument *argument = &arguments->expressions[i];

		if (argument->position <= arguments->required && PG_ARGISNULL(argument->position))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" is required", argument->name),
					 errhint("Give a column name or an SQL expression over the table's row.")));
	}
	read_arguments(&attachment);
	if (attachment.reads_zone && text_argument(fcinfo, arguments->at_zone) == NULL)
		add_given(&attachment, "reads_shop_zone", "true");
	check_parent_key(&attachment);
	if (arguments->role == ROLE_CUSTOMERS)
	{
		require_unique_key(attachment.relation, attachment.key_attno, "It names the customer everywhere.");
		key_type = customers_key_type(&attachment);
		/* the former customers table was dropped: what we know of its keys goes on */
		if (OidIsValid(attachment.set->facts) && attachment.set->key_type != key_type)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("key of \"%s\" has type %s, but the customers attached before had keys of type %s",
							RelationGetRelationName(attachment.relation), format_type_be(key_type),
							format_type_be(attachment.set->key_type)),
					 errhint("DROP EXTENSION segment CASCADE and create it anew, or attach a table with keys of that type.")));
		read_anonymous_keys(&attachment, key_type);
	}
	else if (segment_is_counted(arguments->role) && (!segment_is_lines(arguments->role) || attachment.has[FIELD_KEY]))
	{
		if (attachment.has_subquery || attachment.has[FIELD_PARENT_KEY] || attachment.watches)
			require_ledger_key(&attachment);
	}

	create_mapping(&attachment);
	register_source(&attachment, watch);
	if (arguments->role == ROLE_CUSTOMERS && !OidIsValid(attachment.set->facts))
		create_customer_objects(&attachment, key_type);
	attachment.set = reread(attachment.set);
	source = segment_source_by_id(attachment.set, attachment.id);
	if (source == NULL)
		elog(ERROR, "source %d was not found after it was attached", attachment.id);
	if (has_ledger(source))
		create_ledger(&attachment);
	explain_zone(&attachment, source);
	warn_of_states(&attachment);
	follow(&attachment);
	relation_close(attachment.relation, NoLock);
	segment_sources_release();
	SPI_finish();
	PG_RETURN_OID(attachment.relid);
}

/* segment.attach_customers() */
Datum
segment_attach_customers(PG_FUNCTION_ARGS)
{
	return attach(fcinfo, &customers_role);
}

/* segment.attach_orders() */
Datum
segment_attach_orders(PG_FUNCTION_ARGS)
{
	return attach(fcinfo, &orders_role);
}

/* segment.attach_returns() */
Datum
segment_attach_returns(PG_FUNCTION_ARGS)
{
	return attach(fcinfo, &returns_role);
}

/* segment.attach_order_lines() */
Datum
segment_attach_order_lines(PG_FUNCTION_ARGS)
{
	return attach(fcinfo, &order_lines_role);
}

/* segment.attach_return_lines() */
Datum
segment_attach_return_lines(PG_FUNCTION_ARGS)
{
	return attach(fcinfo, &return_lines_role);
}

/* segment.attach_points() */
Datum
segment_attach_points(PG_FUNCTION_ARGS)
{
	return attach(fcinfo, &points_role);
}

/* segment.attach_offers() */
Datum
segment_attach_offers(PG_FUNCTION_ARGS)
{
	return attach(fcinfo, &offers_role);
}

/* segment.attach_tags() */
Datum
segment_attach_tags(PG_FUNCTION_ARGS)
{
	return attach(fcinfo, &tags_role);
}

/* After each statement on segment.attachments or segment.epoch, ours or a restore's. */
Datum
segment_attachments_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by trigger manager")));
	segment_sources_changed(get_relname_relid("attachments", get_namespace_oid("segment", false)));
	return PointerGetDatum(NULL);
}

/*
 * Detaching.
 */

/* The one source that a call of detach() means. */
static Source *
find_attached(SourceSet *set, Oid relid, const char *role)
{
	Source	   *found = NULL;

	for (int i = 0; i < set->nsources; i++)
	{
		Source	   *source = &set->sources[i];

		if (source->relid != relid ||
			(role != NULL && strcmp(role, segment_role_name(source->role)) != 0))
			continue;
		if (found != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
					 errmsg("table %s is attached in several roles", source->name),
					 errhint("Say which: role => '%s' or role => '%s'.",
							 segment_role_name(found->role), segment_role_name(source->role))));
		found = source;
	}
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not attached%s%s", get_rel_name(relid),
						role ? " as " : "", role ? role : ""),
				 errhint("segment.sources shows what is attached.")));
	return found;
}

/* "AND the ladder's figure is one that rows of a role give". */
static const char *
fed_figures(SourceRole role)
{
	switch (role)
	{
		case ROLE_ORDERS:
			return " AND l.figure IN ('amount_spent', 'amount_ordered', 'number_of_orders', 'items_bought')";
		case ROLE_RETURNS:
			return " AND l.figure IN ('amount_spent', 'amount_returned', 'number_of_returns', 'items_returned')";
		case ROLE_ORDER_LINES:
			return " AND l.figure = 'items_bought'";
		case ROLE_RETURN_LINES:
			return " AND l.figure = 'items_returned'";
		case ROLE_CUSTOMERS:
			break;
		case ROLE_POINTS:
		case ROLE_OFFERS:
		case ROLE_TAGS:
			return " AND false";
	}
	return "";
}

/* Customers go last. */
static void
refuse_while_attached(Source *customers, const Source *other)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot detach %s while %s is attached", customers->name, other->name),
			 errdetail("Everything is counted by the customers' key."),
			 errhint("Detach %s first.", other->name)));
}

/* Refuse where somebody's tier stands on figures that this source feeds. */
static void
check_not_needed(SourceSet *set, Source *source)
{
	Identity	caller;

	for (int i = 0; i < set->nsources; i++)
	{
		if (source->role == ROLE_CUSTOMERS && &set->sources[i] != source)
			refuse_while_attached(source, &set->sources[i]);
		if (set->sources[i].parent >= 0 && &set->sources[set->sources[i].parent] == source)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot detach %s while %s is attached", source->name, set->sources[i].name),
					 errdetail("Rows of %s name rows of it.", set->sources[i].name),
					 errhint("Detach %s first.", set->sources[i].name)));
	}
	segment_become(set->owner, &caller);
	segment_execute(psprintf("SELECT l.code, l.figure FROM segment.ladders l WHERE l.active%s"
							 " AND EXISTS (SELECT FROM segment.tiers t WHERE t.ladder = l.code AND t.active)"
							 " ORDER BY l.code LIMIT 1",
							 fed_figures(source->role)));
	segment_resume(&caller);
	if (SPI_processed > 0)
	{
		char	   *ladder = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot detach %s: ladder \"%s\" needs it", source->name, ladder),
				 errdetail("Its figure is %s.", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)),
				 errhint("UPDATE segment.ladders SET active = false WHERE code = %s; detach, attach again, and switch it on.",
						 quote_literal_cstr(ladder))));
	}
}

/* Refuse where a group, or what is pending for one, bound before and does not bind without the source. */
static void
check_groups_bind(SourceSet *set, const Bound *before, const char *source)
{
	Bound	   *now = segment_bind_rules(set);

	for (int i = 0; i < now->ngroups; i++)
	{
		const BoundGroup *group = now->groups[i];

		for (int j = 0; group->active && group->fault != NULL && j < before->ngroups; j++)
		{
			if (before->groups[j]->id != group->id || before->groups[j]->fault != NULL)
				continue;
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot detach %s: group \"%s\" needs it", source, group->code),
					 errdetail_internal("%s", group->fault),
					 group->instead_of != 0
					 ? errhint("CALL segment.cancel_activation(%s), and begin it again afterwards.", quote_literal_cstr(group->code))
					 : errhint("UPDATE segment.groups SET active = false WHERE code = %s; detach, attach again, and switch it on.",
							   quote_literal_cstr(group->code))));
		}
	}
}

/* segment.detach(table, role) */
Datum
segment_detach(PG_FUNCTION_ARGS)
{
	SourceSet  *set;
	Source	   *source;
	Source		gone;
	Bound	   *bound;
	Oid		   *watched;
	int			nwatched;
	Identity	caller;
	char	   *role = text_argument(fcinfo, 1);
	SourceRole	ignored;

	segment_require_read_committed("detach a table");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"table\" is NULL"),
				 errhint("Name the table: 'shop.orders'.")));
	segment_connect(0);
	set = segment_sources_acquire();
	if (role != NULL && !segment_role_by_name(role, &ignored))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no role \"%s\"", role),
				 errhint("Roles are %s.", segment_role_names())));
	source = find_attached(set, PG_GETARG_OID(0), role);
	if (!is_owner(source->relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(source->relid));
	lock_table(source->relid);
	segment_lock_facts();
	segment_refuse_in_use(set, "detach");
	check_not_needed(set, source);

	segment_wake_everyone(set);
	bound = source->role == ROLE_CUSTOMERS ? NULL : segment_bind_rules(set);
	gone = *source;
	gone.name = pstrdup(gone.name);
	nwatched = source->nlinks;
	watched = palloc(sizeof(Oid) * Max(nwatched, 1));
	for (int i = 0; i < nwatched; i++)
		watched[i] = source->links[i].relid;
	segment_become(set->owner, &caller);
	segment_execute(psprintf("DELETE FROM segment.attachments WHERE id = %d", gone.id));
	segment_execute(psprintf("DELETE FROM segment.left_out WHERE source = %d", gone.id));
	segment_execute(psprintf("DELETE FROM segment.stale_marks WHERE source = %d", gone.id));
	segment_execute(psprintf("DROP VIEW segment.source_%d", gone.id));
	if (has_ledger(&gone))
		segment_execute(psprintf("DROP TABLE segment.counted_%d", gone.id));
	if (gone.role == ROLE_CUSTOMERS)
		segment_execute("SELECT segment._drop_customer_objects()");
	segment_resume(&caller);

	set = reread(set);
	drop_triggers(set, gone.relid);
	for (int i = 0; i < nwatched; i++)
		drop_triggers(set, watched[i]);
	if (bound != NULL)
		check_groups_bind(set, bound, gone.name);
	if (gone.role != ROLE_CUSTOMERS)
		segment_recompute(set, (Datum) 0, CAUSE_RECALCULATION, NULL);
	segment_sources_release();
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * What segment.sources shows.
 */

/* segment._watched(source) */
Datum
segment_watched(PG_FUNCTION_ARGS)
{
	int			id = PG_GETARG_INT32(0);
	MemoryContext context = CurrentMemoryContext;
	MemoryContext before;
	SourceSet  *set;
	Source	   *source;
	Datum	   *relids = NULL;
	int			n = 0;
	Datum		result;

	segment_connect(0);
	set = segment_sources_acquire();
	source = segment_source_by_id(set, id);
	if (source)
	{
		relids = palloc(sizeof(Datum) * Max(source->nlinks, 1));
		for (int i = 0; i < source->nlinks; i++)
		{
			bool		known = false;

			for (int j = 0; j < n; j++)
				known |= DatumGetObjectId(relids[j]) == source->links[i].relid;
			if (!known)
				relids[n++] = ObjectIdGetDatum(source->links[i].relid);
		}
	}
	before = MemoryContextSwitchTo(context);
	result = PointerGetDatum(segment_array(REGCLASSOID, relids, NULL, n));
	MemoryContextSwitchTo(before);
	segment_sources_release();
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/* Whether some index begins with the column. */
static bool
has_index_on(Oid relid, AttrNumber attno)
{
	Relation	relation = table_open(relid, AccessShareLock);
	ListCell   *cell;
	bool		found = false;

	foreach(cell, RelationGetIndexList(relation))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indisvalid && index->rd_index->indkey.values[0] == attno &&
			RelationGetIndexPredicate(index) == NIL)
			found = true;
		index_close(index, AccessShareLock);
	}
	table_close(relation, AccessShareLock);
	return found;
}

static void
advise(StringInfo advice, Source *source, AttrNumber attno, AttrNumber second, const char *why)
{
	if (attno == 0 || has_index_on(source->relid, attno))
		return;
	appendStringInfo(advice, "%sCREATE INDEX ON %s (%s", advice->len ? " " : "", source->name,
					 quote_identifier(get_attname(source->relid, attno, false)));
	if (second != 0)
		appendStringInfo(advice, ", %s", quote_identifier(get_attname(source->relid, second, false)));
	appendStringInfo(advice, "); -- %s", why);
}

/* What an index over the customer, and the time where there is one, is for. */
static const char *
why_by_customer(SourceRole role)
{
	switch (role)
	{
		case ROLE_POINTS:
			return "finds a customer's points";
		case ROLE_OFFERS:
			return "finds the offers that a customer used";
		case ROLE_TAGS:
			return "finds a customer's tags";
		default:
			return "finds a customer's rows when the last one goes";
	}
}

/* segment._index_advice(source) */
Datum
segment_index_advice(PG_FUNCTION_ARGS)
{
	int			id = PG_GETARG_INT32(0);
	SourceSet  *set;
	Source	   *source;
	StringInfoData advice;
	text	   *result = NULL;
	MemoryContext context = CurrentMemoryContext;

	segment_connect(0);
	set = segment_sources_acquire();
	source = segment_source_by_id(set, id);
	initStringInfo(&advice);
	if (source && source->role != ROLE_CUSTOMERS)
	{
		advise(&advice, source, source->fields[FIELD_CUSTOMER].attno, source->fields[FIELD_AT].attno,
			   why_by_customer(source->role));
		advise(&advice, source, source->fields[FIELD_PARENT_KEY].attno, 0,
			   source->role == ROLE_RETURN_LINES ? "finds the lines of a return that changes"
			   : source->role == ROLE_ORDER_LINES ? "finds the lines of an order that changes"
			   : "finds the returns of an order that changes");
	}
	if (advice.len > 0)
	{
		MemoryContext before = MemoryContextSwitchTo(context);

		result = cstring_to_text(advice.data);
		MemoryContextSwitchTo(before);
	}
	segment_sources_release();
	SPI_finish();
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}
