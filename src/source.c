/*
 * source.c
 *		Attached tables: mapping, generated SQL.
 *
 * The view segment.source_<id> is the mapping: it follows renames, is dumped,
 * and keeps the operators that were meant.  Here it is read back as expression
 * trees, for rows at hand in a trigger, and as text, for queries.
 *
 * What was read is kept for the session and thrown away as soon as anything it
 * was made from changes; a set that is in use is retired, not freed.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "saved_plan.h"
#include "source.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

static const char *const role_names[] = {
	[ROLE_CUSTOMERS] = "customers",
	[ROLE_ORDERS] = "orders",
	[ROLE_RETURNS] = "returns",
	[ROLE_ORDER_LINES] = "order_lines",
	[ROLE_RETURN_LINES] = "return_lines",
	[ROLE_POINTS] = "points",
	[ROLE_OFFERS] = "offers",
	[ROLE_TAGS] = "tags",
};

static const char *const field_names[] = {
	[FIELD_KEY] = "key",
	[FIELD_CUSTOMER] = "customer",
	[FIELD_PARENT_KEY] = "order_key",
	[FIELD_AMOUNT] = "amount",
	[FIELD_AT] = "at",
	[FIELD_CURRENCY] = "currency",
	[FIELD_ITEMS] = "items",
	[FIELD_COUNTED] = "counted",
};

static SourceSet *current = NULL;
static bool current_valid = false;
static List *retired = NIL;		/* in TopMemoryContext */
static int	in_use = 0;

/* goes up with every change of what is attached */
static uint64 generation = 0;

/*
 * Relations whose change makes the current set invalid, segment.attachments
 * first; in TopMemoryContext.
 */
static Oid *depends_on = NULL;
static int	ndepends_on = 0;

const char *
segment_role_name(SourceRole role)
{
	return role_names[role];
}

/* All names, for a hint. */
const char *
segment_role_names(void)
{
	return "customers, orders, returns, order_lines, return_lines, points, offers and tags";
}

/* False where no role bears the name. */
bool
segment_role_by_name(const char *name, SourceRole *role)
{
	for (int i = 0; i < lengthof(role_names); i++)
	{
		if (strcmp(name, role_names[i]) == 0)
		{
			*role = (SourceRole) i;
			return true;
		}
	}
	return false;
}

/* Whether rows are lines of another source's rows. */
bool
segment_is_lines(SourceRole role)
{
	return role == ROLE_ORDER_LINES || role == ROLE_RETURN_LINES;
}

/*
 * Whether rows add up to figures that segment.facts keeps.  Of the other roles
 * nothing is kept: whom their rows concern is judged again.
 */
bool
segment_is_counted(SourceRole role)
{
	return role != ROLE_POINTS && role != ROLE_OFFERS && role != ROLE_TAGS;
}

/* The column of a source's view that holds a field. */
const char *
segment_field_column(SourceRole role, SourceField field)
{
	if (field == FIELD_PARENT_KEY && role == ROLE_RETURN_LINES)
		return "return_key";
	if (field == FIELD_ITEMS && segment_is_lines(role))
		return "quantity";
	return field_names[field];
}

/* By which field the ledger of a linked source goes. */
SourceField
segment_ledger_field(const Source *source)
{
	return source->grouped ? FIELD_PARENT_KEY : FIELD_KEY;
}

static Oid
relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

/*
 * Whether evaluating over a row can raise: everything but columns, constants,
 * comparisons of a btree operator class, widening of integers and logic may.
 */
static bool
may_raise_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Const:
		case T_RelabelType:
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CoalesceExpr:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_ArrayExpr:
		case T_List:
			break;
		case T_OpExpr:
			if (get_op_btree_interpretation(((OpExpr *) node)->opno) == NIL)
				return true;
			break;
		case T_ScalarArrayOpExpr:
			if (get_op_btree_interpretation(((ScalarArrayOpExpr *) node)->opno) == NIL)
				return true;
			break;
		case T_FuncExpr:
			switch (((FuncExpr *) node)->funcid)
			{
				case F_NUMERIC_INT2:
				case F_NUMERIC_INT4:
				case F_NUMERIC_INT8:
				case F_INT4_INT2:
				case F_INT8_INT2:
				case F_INT8_INT4:
					break;
				default:
					return true;
			}
			break;
		default:
			return true;
	}
	return expression_tree_walker(node, may_raise_walker, context);
}

static Node *
strip_relabel(Node *node)
{
	while (node && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

/*
 * Links: for every table read by a subquery of an expression, find how its
 * rows lead back to rows of the source.
 */
typedef struct LinkSearch
{
	SourceSet  *set;
	Source	   *source;
	List	   *links;			/* of Link * */
	int			depth;			/* how many queries we are inside of */
} LinkSearch;

typedef struct LevelSearch
{
	int			outermost;		/* level at which the source's row stands */
	int			depth;
} LevelSearch;

/* Whether an expression reads anything but the source's own row. */
static bool
reads_others_walker(Node *node, LevelSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		int			level = (int) ((Var *) node)->varlevelsup - search->depth;

		/* deeper subqueries' own rows are their business, watched by themselves */
		return level >= 0 && level != search->outermost;
	}
	if (IsA(node, Query))
	{
		bool		found;

		search->depth++;
		found = query_tree_walker((Query *) node, reads_others_walker, search, 0);
		search->depth--;
		return found;
	}
	return expression_tree_walker(node, reads_others_walker, search);
}

static char *
operator_clause(Oid opno)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(opno));
	Form_pg_operator form;
	char	   *clause;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", opno);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	clause = psprintf("OPERATOR(%s.%s)",
					  quote_identifier(get_namespace_name(form->oprnamespace)),
					  NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return clause;
}

static char *
column_name(Oid relid, AttrNumber attno)
{
	return unconstify(char *, quote_identifier(get_attname(relid, attno, false)));
}

/* What is wanted of rows that look something up: their keys, or whom they concern. */
static char *
looking_up_sql(Source *source)
{
	if (segment_is_counted(source->role))
		return psprintf("%st.%s", source->grouped ? "DISTINCT " : "",
						column_name(source->relid, source->fields[segment_ledger_field(source)].attno));
	return psprintf("DISTINCT %s", deparse_expression((Node *) source->fields[FIELD_CUSTOMER].expr,
													  deparse_context_for("t", source->relid), true, false));
}

/* The source's rows that look up any element of an array. */
static char *
rows_sql(Source *source, Link *link, const char *array)
{
	if (link->via != NULL)
		return rows_sql(source, link->via,
						psprintf("ARRAY(SELECT w.%s FROM %s w WHERE w.%s %s ANY (%s))",
								 column_name(link->via->relid, link->via->attno),
								 qualified_name(link->via->relid),
								 column_name(link->via->relid, link->via_attno),
								 operator_clause(link->equality), array));
	return psprintf("SELECT %s FROM %s t WHERE (%s) %s ANY (%s)",
					looking_up_sql(source), qualified_name(source->relid), link->outer_sql,
					operator_clause(link->equality), array);
}

/* Array of the values that a row "t" of the source looks up. */
static char *
values_sql(Link *link)
{
	if (link->via != NULL)
		return psprintf("ARRAY(SELECT w.%s FROM %s w WHERE w.%s %s ANY (%s))",
						column_name(link->via->relid, link->via_attno),
						qualified_name(link->via->relid),
						column_name(link->via->relid, link->via->attno),
						operator_clause(get_commutator(link->via->equality)),
						values_sql(link->via));
	return psprintf("ARRAY[%s]", link->outer_sql);
}

/* The same as texts, those of equal values alike: see segment_value_text(). */
static char *
value_texts_sql(Link *link)
{
	Oid			type = link->via != NULL ? get_atttype(link->via->relid, link->via_attno) : link->type;

	if (getBaseType(type) == NUMERICOID)
		return psprintf("ARRAY(SELECT pg_catalog.trim_scale(u.u) FROM pg_catalog.unnest(%s) AS u(u))::pg_catalog.text[]",
						values_sql(link));
	return psprintf("(%s)::pg_catalog.text[]", values_sql(link));
}

/* The link is complete: make its SQL. */
static void
make_traceable(Link *link, Source *source)
{
	if ((segment_is_counted(source->role) && source->fields[segment_ledger_field(source)].attno == 0) ||
		!OidIsValid(link->equality) ||
		!OidIsValid(get_commutator(link->equality)))
		return;
	link->traceable = true;
	link->rows_sql = rows_sql(source, link, "$1");
	link->values_sql = value_texts_sql(link);
}

/* The clauses that every row must satisfy: WHERE and the ON of inner joins. */
static List *
gather_clauses(Node *node, List *clauses)
{
	ListCell   *cell;

	if (node == NULL)
		return clauses;
	if (IsA(node, FromExpr))
	{
		clauses = list_concat(clauses, make_ands_implicit((Expr *) ((FromExpr *) node)->quals));
		foreach(cell, ((FromExpr *) node)->fromlist)
			clauses = gather_clauses(lfirst(cell), clauses);
	}
	else if (IsA(node, JoinExpr) && ((JoinExpr *) node)->jointype == JOIN_INNER)
	{
		clauses = list_concat(clauses, make_ands_implicit((Expr *) ((JoinExpr *) node)->quals));
		clauses = gather_clauses(((JoinExpr *) node)->larg, clauses);
		clauses = gather_clauses(((JoinExpr *) node)->rarg, clauses);
	}
	return clauses;
}

/* Whether a node is a plain column of a table of the query. */
static bool
is_column_of(Node *node, Index rti)
{
	return IsA(node, Var) && ((Var *) node)->varno == rti &&
		((Var *) node)->varlevelsup == 0 && ((Var *) node)->varattno > 0;
}

/*
 * Try one side of an equality as the watched table's column, the other as what
 * it is looked up by: an expression over the source's row, or a column of
 * another watched table that is itself looked up.
 */
static void
trace_by_clause(LinkSearch *search, Link **links, Index rti, OpExpr *clause, int side)
{
	Link	   *link = links[rti];
	Node	   *mine = strip_relabel(list_nth(clause->args, side));
	Node	   *other = list_nth(clause->args, 1 - side);
	Node	   *column = strip_relabel(other);
	LevelSearch levels = {.outermost = search->depth, .depth = 0};

	if (!is_column_of(mine, rti) || is_virtual_column(link->relid, ((Var *) mine)->varattno))
		return;
	link->attno = ((Var *) mine)->varattno;
	link->type = exprType(mine);
	link->equality = side == 0 ? get_commutator(clause->opno) : clause->opno;
	if (!reads_others_walker(other, &levels) && contain_vars_of_level(other, search->depth))
	{
		other = copyObject(other);
		IncrementVarSublevelsUp(other, -search->depth, search->depth);
		link->may_raise = may_raise_walker(other, NULL);
		link->outer_sql = deparse_expression(other, deparse_context_for("t", search->source->relid), true, false);
		make_traceable(link, search->source);
	}
	else if (IsA(column, Var) && ((Var *) column)->varlevelsup == 0 &&
			 ((Var *) column)->varno != rti && is_column_of(column, ((Var *) column)->varno) &&
			 links[((Var *) column)->varno] != NULL && links[((Var *) column)->varno]->traceable)
	{
		link->via = links[((Var *) column)->varno];
		link->via_attno = ((Var *) column)->varattno;
		link->may_raise = link->via->may_raise;
		make_traceable(link, search->source);
	}
}

/* Look for equalities until no more tables of a query become traceable. */
static void
trace_links(LinkSearch *search, Link **links, int nlinks, List *clauses)
{
	bool		progress = true;

	while (progress)
	{
		progress = false;
		for (Index rti = 1; rti <= nlinks; rti++)
		{
			ListCell   *cell;

			foreach(cell, clauses)
			{
				OpExpr	   *clause = (OpExpr *) lfirst(cell);

				if (links[rti] == NULL || links[rti]->traceable)
					break;
				if (!IsA(clause, OpExpr) || list_length(clause->args) != 2 ||
					!op_mergejoinable(clause->opno, exprType(linitial(clause->args))))
					continue;
				for (int side = 0; side < 2 && !links[rti]->traceable; side++)
					trace_by_clause(search, links, rti, clause, side);
				progress |= links[rti]->traceable;
			}
		}
	}
}

static bool
find_links_walker(Node *node, LinkSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		int			n = list_length(query->rtable);
		Link	  **links = palloc0(sizeof(Link *) * (n + 1));
		bool		found;

		search->depth++;
		for (int rti = 1; rti <= n; rti++)
		{
			RangeTblEntry *rte = list_nth(query->rtable, rti - 1);

			if (rte->rtekind != RTE_RELATION)
				continue;
			links[rti] = palloc0(sizeof(Link));
			links[rti]->relid = rte->relid;
			search->links = lappend(search->links, links[rti]);
		}
		if (query->setOperations == NULL)
			trace_links(search, links, n, gather_clauses((Node *) query->jointree, NIL));
		found = query_tree_walker(query, find_links_walker, search, 0);
		search->depth--;
		return found;
	}
	return expression_tree_walker(node, find_links_walker, search);
}

/* Whether a foreign key that is checked at once says that the parent is there first. */
static bool
is_guarded(Source *source, Source *parent)
{
	AttrNumber	mine = source->fields[FIELD_PARENT_KEY].attno;
	AttrNumber	theirs = parent->fields[FIELD_KEY].attno;
	Relation	relation;
	ListCell   *cell;
	bool		guarded = false;

	if (mine == 0 || theirs == 0)
		return false;
	relation = table_open(source->relid, AccessShareLock);
	foreach(cell, RelationGetFKeyList(relation))
	{
		ForeignKeyCacheInfo *info = lfirst(cell);
		HeapTuple	tuple;
		Form_pg_constraint form;

		if (info->confrelid != parent->relid || info->nkeys != 1 ||
			info->conkey[0] != mine || info->confkey[0] != theirs)
			continue;
		tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(info->conoid));
		if (!HeapTupleIsValid(tuple))
			continue;
		form = (Form_pg_constraint) GETSTRUCT(tuple);
		guarded = !form->condeferrable && form->convalidated;
		ReleaseSysCache(tuple);
		if (guarded)
			break;
	}
	table_close(relation, AccessShareLock);
	return guarded;
}

/* The link from the parent's rows back to the rows that name them. */
static Link *
parent_link(SourceSet *set, Source *source)
{
	Source	   *parent = &set->sources[source->parent];
	Link	   *link = palloc0(sizeof(Link));
	FieldMapping *named = &source->fields[FIELD_PARENT_KEY];
	Oid			outer_type = named->type;

	link->relid = parent->relid;
	link->attno = parent->fields[FIELD_KEY].attno;
	link->type = parent->fields[FIELD_KEY].type;
	link->equality = OpernameGetOprid(list_make2(makeString("pg_catalog"), makeString("=")),
									  getBaseType(outer_type), getBaseType(link->type));
	if (!OidIsValid(link->equality))
		link->equality = lookup_type_cache(getBaseType(link->type), TYPECACHE_EQ_OPR)->eq_opr;
	link->may_raise = may_raise_walker((Node *) named->expr, NULL);
	link->outer_sql = deparse_expression((Node *) named->expr, deparse_context_for("t", source->relid), true, false);
	if (link->attno != 0)
		make_traceable(link, source);
	link->guarded = is_guarded(source, parent);
	return link;
}

static bool
mentions(List *links, Oid relid)
{
	ListCell   *cell;

	foreach(cell, links)
	{
		if (((Link *) lfirst(cell))->relid == relid)
			return true;
	}
	return false;
}

/*
 * What a trigger's rows hold in virtual generated columns is undefined: their
 * expressions take their place.
 */
static void
expand_virtual_columns(Source *source, Query *mapping)
{
#if PG_VERSION_NUM >= 180000
	Relation	relation = table_open(source->relid, AccessShareLock);

	mapping->targetList = (List *) expand_generated_columns_in_expr((Node *) mapping->targetList, relation, 1);
	table_close(relation, AccessShareLock);
#endif
}

static char *
field_of_old_rows(Source *source, SourceField field, const char *type)
{
	return source->fields[field].mapped
		? psprintf("(%s)::%s", deparse_expression((Node *) source->fields[field].expr,
												  deparse_context_for("t", source->relid), true, false), type)
		: psprintf("NULL::%s", type);
}

/* Of rows as they were: the customer, and the row of the parent that they named. */
static char *
old_customers_sql(SourceSet *set, Source *source)
{
	Oid			parent_key = source->fields[FIELD_PARENT_KEY].type;

	return psprintf("SELECT %s, %s FROM old_rows t", field_of_old_rows(source, FIELD_CUSTOMER, set->key_type_name),
					field_of_old_rows(source, FIELD_PARENT_KEY,
									  format_type_be_qualified(OidIsValid(parent_key) ? parent_key : TEXTOID)));
}

/* Columns of a table that a query reads, offset by FirstLowInvalidHeapAttributeNumber. */
static Bitmapset *
selected_columns(Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return getRTEPermissionInfo(query->rteperminfos, rte)->selectedCols;
#else
	return rte->selectedCols;
#endif
}

/*
 * Take the mapping apart: expressions of the fields, and what they read.
 */
static void
read_mapping(SourceSet *set, Source *source, Relation view, ArrayType *watch)
{
	Query	   *mapping = NULL;
	Index		table_rti = 0;
	LinkSearch	search = {.set = set, .source = source};
	ListCell   *cell;
	Datum	   *watched;
	int			nwatched;
	int			i;

	foreach(cell, get_view_query(view)->rtable)
	{
		RangeTblEntry *rte = lfirst(cell);

		if (rte->rtekind == RTE_SUBQUERY)
			mapping = copyObject(rte->subquery);
	}
	if (mapping == NULL)
		elog(ERROR, "view of source %d is not a mapping", source->id);
	i = 0;
	foreach(cell, mapping->rtable)
	{
		RangeTblEntry *rte = lfirst(cell);

		i++;
		if (rte->rtekind == RTE_RELATION && rte->relid == source->relid)
		{
			table_rti = i;
			source->reads = bms_copy(selected_columns(mapping, rte));
		}
	}
	if (table_rti != 1)
		ChangeVarNodes((Node *) mapping->targetList, table_rti, 1, 0);
	expand_virtual_columns(source, mapping);

	source->columns = palloc(sizeof(SourceColumn) * list_length(mapping->targetList));
	foreach(cell, mapping->targetList)
	{
		TargetEntry *entry = lfirst(cell);
		Node	   *expr = (Node *) entry->expr;

		source->columns[source->ncolumns].name = pstrdup(entry->resname);
		source->columns[source->ncolumns].type = exprType(expr);
		source->columns[source->ncolumns++].is_null = IsA(expr, Const) && ((Const *) expr)->constisnull;

		for (i = 0; i < FIELD_COUNT; i++)
		{
			FieldMapping *field = &source->fields[i];
			Node	   *plain;

			if (entry->resname == NULL ||
				strcmp(entry->resname, segment_field_column(source->role, (SourceField) i)) != 0 ||
				(i == FIELD_AMOUNT && segment_is_lines(source->role)))
				continue;
			field->type = exprType(expr);
			if (i == FIELD_CUSTOMER && OidIsValid(set->key_type))
			{
				expr = coerce_to_target_type(NULL, expr, field->type, set->key_type, -1,
											 COERCION_ASSIGNMENT, COERCE_EXPLICIT_CAST, -1);
				if (expr == NULL)
					elog(ERROR, "customer of source %d does not fit the customers' key", source->id);
			}
			field->mapped = true;
			field->expr = (Expr *) expr;
			plain = strip_relabel(expr);
			if (IsA(plain, Var) && ((Var *) plain)->varattno > 0)
				field->attno = ((Var *) plain)->varattno;
			if (may_raise_walker(expr, NULL))
				source->may_raise = true;
		}
		if (checkExprHasSubLink((Node *) entry->expr))
			source->linked = true;
	}

	source->grouped = segment_is_lines(source->role) && !source->fields[FIELD_KEY].mapped;
	if (source->fields[FIELD_PARENT_KEY].mapped)
	{
		source->linked = true;
		if (source->parent >= 0)
			search.links = lappend(search.links, parent_link(set, source));
	}
	find_links_walker((Node *) mapping->targetList, &search);
	if (OidIsValid(set->key_type) && source->role != ROLE_CUSTOMERS)
		source->old_customers_sql = old_customers_sql(set, source);

	deconstruct_array(watch, REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT,
					  &watched, NULL, &nwatched);
	for (i = 0; i < nwatched; i++)
	{
		source->linked = true;
		if (!mentions(search.links, DatumGetObjectId(watched[i])))
		{
			Link	   *link = palloc0(sizeof(Link));

			link->relid = DatumGetObjectId(watched[i]);
			search.links = lappend(search.links, link);
		}
	}
	source->nlinks = list_length(search.links);
	source->links = palloc0(sizeof(Link) * Max(source->nlinks, 1));
	i = 0;
	foreach(cell, search.links)
		source->links[i++] = *(Link *) lfirst(cell);
}

/*
 * The view's definition as a table expression.  Asked for in SQL, because the
 * function reads with the snapshot that is active, which may be older than the
 * view.
 */
static char *
mapping_sql(SourceSet *set, Oid view)
{
	char	   *definition;
	size_t		length;

	segment_execute_latest(psprintf("SELECT pg_get_viewdef(%u::oid)", view));
	definition = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (definition == NULL)
		elog(ERROR, "view %u has no definition", view);
	length = strlen(definition);
	while (length > 0 && (definition[length - 1] == ';' || definition[length - 1] == '\n'))
		definition[--length] = '\0';
	return psprintf("(%s)", definition);
}

static void
read_key_type(SourceSet *set)
{
	StringInfoData literal;

	if (!OidIsValid(set->facts))
		return;
	set->key_type = get_atttype(set->facts, 1);
	set->key_type_name = format_type_be_qualified(set->key_type);
	set->key_array_type = get_array_type(set->key_type);
	set->key_cache = lookup_type_cache(set->key_type, TYPECACHE_CMP_PROC_FINFO);
	set->key_order = set->key_type == TEXTOID ? " COLLATE pg_catalog.\"C\"" : "";

	initStringInfo(&literal);
	appendStringInfo(&literal, "'{}'::%s[]", set->key_type_name);
	set->anonymous_sql = literal.data;
}

/* Keys of walk-in customers, from the arguments of attach_customers(). */
static void
read_anonymous(SourceSet *set)
{
	SPITupleTable *rows;
	Oid			input;
	Oid			ioparam;

	segment_execute_latest("SELECT x.element FROM segment.attachments a"
						   " CROSS JOIN LATERAL pg_catalog.jsonb_array_elements_text(a.arguments OPERATOR(pg_catalog.->) 'anonymous') AS x(element)"
						   " WHERE a.role = 'customers'");
	rows = SPI_tuptable;
	if (!OidIsValid(set->key_type) || SPI_processed == 0)
		return;
	getTypeInputInfo(set->key_type, &input, &ioparam);
	set->nanonymous = (int) SPI_processed;
	set->anonymous = palloc0(sizeof(Datum) * set->nanonymous);
	for (int i = 0; i < set->nanonymous; i++)
		set->anonymous[i] = OidInputFunctionCall(input,
												 SPI_getvalue(rows->vals[i], rows->tupdesc, 1),
												 ioparam, -1);
	{
		ArrayType  *array = construct_array(set->anonymous, set->nanonymous, set->key_type,
											set->key_cache->typlen, set->key_cache->typbyval,
											set->key_cache->typalign);
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(set->key_array_type, &output, &varlena);
		set->anonymous_sql = psprintf("%s::%s[]",
									  quote_literal_cstr(OidOutputFunctionCall(output, PointerGetDatum(array))),
									  set->key_type_name);
	}
}

static void
add_dependency(Oid relid)
{
	depends_on = depends_on == NULL
		? MemoryContextAlloc(TopMemoryContext, sizeof(Oid) * 16)
		: ndepends_on % 16 == 0
		? repalloc(depends_on, sizeof(Oid) * (ndepends_on + 16))
		: depends_on;
	depends_on[ndepends_on++] = relid;
}

/* Fill one source; false where its table or its view is gone. */
static bool
read_source(SourceSet *set, Source *source, HeapTuple row, TupleDesc desc,
			Oid namespace)
{
	bool		isnull;
	char	   *role = SPI_getvalue(row, desc, 3);
	Oid			view;
	Relation	relation;
	Datum		watch;

	source->id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
	source->relid = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
	if (!segment_role_by_name(role, &source->role))
		elog(ERROR, "source %d has an unknown role \"%s\"", source->id, role);
	source->owner = relation_owner(source->relid);
	view = get_relname_relid(psprintf("source_%d", source->id), namespace);
	if (!OidIsValid(source->owner) || !OidIsValid(view))
		return false;
	add_dependency(source->relid);
	add_dependency(view);
	source->parent = -1;
	if (SPI_getvalue(row, desc, 4) != NULL)
	{
		int			parent = DatumGetInt32(SPI_getbinval(row, desc, 4, &isnull));

		for (int i = 0; i < set->nsources; i++)
		{
			if (set->sources[i].id == parent)
				source->parent = i;
		}
	}
	source->key_may_repeat = get_rel_relkind(source->relid) == RELKIND_PARTITIONED_TABLE;
	source->filling = DatumGetBool(SPI_getbinval(row, desc, 7, &isnull));
	source->currency = SPI_getvalue(row, desc, 6);
	source->name = qualified_name(source->relid);
	watch = SPI_getbinval(row, desc, 5, &isnull);
	relation = try_relation_open(view, AccessShareLock);
	if (relation == NULL)
		return false;			/* it is being detached, and will be read without */
	source->mapping_sql = mapping_sql(set, view);
	read_mapping(set, source, relation, DatumGetArrayTypePCopy(watch));
	table_close(relation, AccessShareLock);
	for (int i = 0; i < source->nlinks; i++)
		add_dependency(source->links[i].relid);
	return true;
}

/*
 * The text made from mappings is read again under whatever settings the session
 * has then, so constants in it must mean the same under all of them.
 */
static void
spell_constants_plainly(void)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO, YMD"},
		{"intervalstyle", "iso_8601"},
		{"timezone", "UTC"},
		{"extra_float_digits", "3"},
		{"quote_all_identifiers", "off"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/* Items are those of lines where lines name a source, else what its rows say. */
static void
find_counters_of_items(SourceSet *set)
{
	for (int i = 0; i < set->nsources; i++)
	{
		set->sources[i].counts_items = set->sources[i].fields[FIELD_ITEMS].mapped;
		set->newest = Max(set->newest, set->sources[i].id);
	}
	for (int i = 0; i < set->nsources; i++)
	{
		if (segment_is_lines(set->sources[i].role) && set->sources[i].parent >= 0)
			set->sources[set->sources[i].parent].counts_items = false;
	}
}

/* Whether the state was made in this database, and not brought here by a restore. */
static bool
is_here(void)
{
	bool		isnull;

	segment_execute_latest("SELECT segment._is_here()");
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Whether the state of customers came here by a restore and was not computed
 * again yet.  Must run inside SPI.
 */
bool
segment_is_restored(void)
{
	Identity	caller;
	bool		here;

	if (!OidIsValid(segment_facts_relation()))
		return false;
	segment_become(segment_owner(), &caller);
	here = is_here();
	segment_resume(&caller);
	return !here;
}

/* Let whoever recalculates wait for us, though we judge nobody. */
void
segment_stand_aside(void)
{
	Oid			facts = segment_facts_relation();

	if (OidIsValid(facts))
		LockRelationOid(facts, RowExclusiveLock);
}

static SourceSet *
load(Oid attachments)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "segment sources",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	SourceSet  *set = palloc0(sizeof(SourceSet));
	Oid			namespace = get_rel_namespace(attachments);
	SPITupleTable *rows;
	uint64		nrows;
	Identity	caller;
	int			level;

	set->context = context;
	set->attachments = attachments;
	set->generation = generation;
	set->owner = relation_owner(attachments);
	set->facts = get_relname_relid("facts", namespace);
	ndepends_on = 0;
	add_dependency(attachments);
	add_dependency(set->facts);
	read_key_type(set);

	segment_become(set->owner, &caller);
	level = NewGUCNestLevel();
	spell_constants_plainly();
	read_anonymous(set);
	set->is_here = is_here();
	segment_execute_latest("SELECT a.id, a.relation, a.role, a.order_source, a.watch,"
						   " CASE WHEN a.arguments OPERATOR(pg_catalog.->>) 'currency' IS NOT NULL THEN segment._setting('currency') END,"
						   " a.filling FROM segment.attachments a ORDER BY a.id");
	rows = SPI_tuptable;
	nrows = SPI_processed;
	set->sources = palloc0(sizeof(Source) * Max(nrows, 1));
	for (uint64 i = 0; i < nrows; i++)
	{
		Source		source = {0};

		if (!read_source(set, &source, rows->vals[i], rows->tupdesc, namespace))
			continue;
		set->sources[set->nsources++] = source;
	}
	find_counters_of_items(set);
	AtEOXact_GUC(true, level);
	segment_resume(&caller);
	MemoryContextSwitchTo(before);
	return set;
}

static void
free_plans(SPIPlanPtr *plans, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (plans[i])
			SPI_freeplan(plans[i]);
	}
}

static void
free_source_plans(Source *sources, int n)
{
	for (int i = 0; i < n; i++)
	{
		free_plans(sources[i].plans, SOURCE_PLANS);
		for (int j = 0; j < sources[i].nlinks; j++)
			free_plans(&sources[i].links[j].rows_plan, 1);
	}
}

static void
free_set(SourceSet *set)
{
	free_plans(set->plans, SET_PLANS);
	free_source_plans(set->sources, set->nsources);
	MemoryContextDelete(set->context);
}

static void
free_retired(void)
{
	ListCell   *cell;

	foreach(cell, retired)
		free_set(lfirst(cell));
	list_free(retired);
	retired = NIL;
}

/*
 * Everything attached, as it is now.  Must run inside SPI; the result stays
 * good until segment_sources_release(), whatever changes meanwhile.
 */
SourceSet *
segment_sources_acquire(void)
{
	Oid			namespace = get_namespace_oid("segment", false);
	Oid			attachments = get_relname_relid("attachments", namespace);

	if (!OidIsValid(attachments))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"segment.attachments\" does not exist"),
				 errhint("Create the extension anew: DROP EXTENSION segment CASCADE; CREATE EXTENSION segment;")));
	if (current == NULL || !current_valid || current->attachments != attachments)
	{
		SourceSet  *fresh;

		current_valid = true;	/* what changes while loading clears it again */
		PG_TRY();
		{
			fresh = load(attachments);
		}
		PG_CATCH();
		{
			current_valid = false;
			PG_RE_THROW();
		}
		PG_END_TRY();
		if (current != NULL && in_use == 0)
			free_set(current);
		else if (current != NULL)
		{
			MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);

			retired = lappend(retired, current);
			MemoryContextSwitchTo(before);
		}
		current = fresh;
	}
	in_use++;
	return current;
}

/* Whether nothing was attached or detached since, as far as is known by now. */
bool
segment_sources_current(SourceSet *set)
{
	AcceptInvalidationMessages();
	return generation == set->generation;
}

/* Whether somebody further up works with a set, too: what hangs on it must not be freed under them. */
bool
segment_sources_shared(void)
{
	return in_use > 1;
}

void
segment_sources_release(void)
{
	if (in_use > 0)
		in_use--;
}

/* Tell every session, once this transaction has committed, that attachments changed. */
void
segment_sources_changed(Oid attachments)
{
	CacheInvalidateRelcacheByRelid(attachments);
	CommandCounterIncrement();
}

/* Names in the text made from mappings may be other ones now. */
static void
names_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	current_valid = false;
}

static void
relation_changed(Datum arg, Oid relid)
{
	if (!OidIsValid(relid))
		current_valid = false;
	if (!OidIsValid(relid) || (ndepends_on > 0 && relid == depends_on[0]))
		generation++;
	for (int i = 0; current_valid && i < ndepends_on; i++)
	{
		if (depends_on[i] == relid)
			current_valid = false;
	}
}

/* An error may have left sets in use; none is once the transaction has ended. */
static void
transaction_ended(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		in_use = 0;
		free_retired();
	}
}

void
segment_sources_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, names_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, names_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, names_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(OPEROID, names_changed, (Datum) 0);
	RegisterXactCallback(transaction_ended, NULL);
}

/* A column of the mapping, NULL where it is not mapped. */
const SourceColumn *
segment_source_column(const Source *source, const char *name)
{
	for (int i = 0; i < source->ncolumns; i++)
	{
		if (strcmp(source->columns[i].name, name) == 0)
			return &source->columns[i];
	}
	return NULL;
}

Source *
segment_source_by_id(SourceSet *set, int id)
{
	for (int i = 0; i < set->nsources; i++)
	{
		if (set->sources[i].id == id)
			return &set->sources[i];
	}
	return NULL;
}

Source *
segment_customers_source(SourceSet *set)
{
	for (int i = 0; i < set->nsources; i++)
	{
		if (set->sources[i].role == ROLE_CUSTOMERS)
			return &set->sources[i];
	}
	return NULL;
}

/* Order of customer keys: that in which their rows are locked everywhere. */
int
segment_compare_customers(SourceSet *set, Datum a, Datum b)
{
	return DatumGetInt32(FunctionCall2Coll(&set->key_cache->cmp_proc_finfo,
										   C_COLLATION_OID, a, b));
}

/* Whether the key is one of those that stand for walk-in customers. */
bool
segment_is_anonymous(SourceSet *set, Datum customer)
{
	for (int i = 0; i < set->nanonymous; i++)
	{
		if (segment_compare_customers(set, set->anonymous[i], customer) == 0)
			return true;
	}
	return false;
}

Datum
segment_copy_customer(SourceSet *set, Datum customer)
{
	if (set->key_cache->typlen == -1)
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(customer));
	return datumCopy(customer, set->key_cache->typbyval, set->key_cache->typlen);
}

/* attach, save and recalculate must see what committed before they got their lock. */
void
segment_require_read_committed(const char *doing)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot %s in a REPEATABLE READ or SERIALIZABLE transaction", doing),
				 errdetail("The transaction's snapshot may be older than sales that have been committed since."),
				 errhint("Use BEGIN ISOLATION LEVEL READ COMMITTED.")));
}

/* segment.facts, InvalidOid while no customers are attached. */
Oid
segment_facts_relation(void)
{
	return get_relname_relid("facts", get_namespace_oid("segment", false));
}

/*
 * Take SHARE ROW EXCLUSIVE on a table.  Others queue behind us while we
 * wait, so the wait is bounded by segment.lock_timeout.
 */
void
segment_lock_bounded(Oid relid)
{
	int			level = NewGUCNestLevel();

	if (LockTimeout == 0 || LockTimeout > segment_lock_timeout)
		(void) set_config_option("lock_timeout", psprintf("%d", segment_lock_timeout),
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	LockRelationOid(relid, ShareRowExclusiveLock);
	AtEOXact_GUC(true, level);
}

/* Keep everyone who judges out until commit: the one lock of a save. */
void
segment_lock_facts(void)
{
	Oid			facts = segment_facts_relation();

	if (OidIsValid(facts))
		segment_lock_bounded(facts);
}

/* Keep everyone else who changes rules out until commit; before segment_lock_facts(). */
void
segment_lock_rules(void)
{
	segment_lock_bounded(get_relname_relid("ruleset", get_namespace_oid("segment", false)));
}

/*
 * Customers may be computed again, some at a time, while their sales go on: both
 * write the customer's facts row first, so one waits for the other.  Where a
 * table that is looked up changes, whose a row was before tells the ledger alone;
 * while that does not know the row, because its source is being filled or was
 * changed unseen, the two would miss each other.  So who changes such a table
 * keeps recomputation out until the end of the transaction, and the other way
 * round.
 */
void
segment_keep_recomputation_out(Source *source)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, source->id, UNKNOWN_ROWS_DOOR, LINK_DOOR_CLASS);
	(void) LockAcquire(&tag, RowExclusiveLock, false, false);
}

/* The other side: before customers are computed again, and before their facts rows are written. */
void
segment_recompute_alone(SourceSet *set)
{
	for (int i = 0; i < set->nsources; i++)
	{
		LOCKTAG		tag;

		if (!set->sources[i].linked)
			continue;
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, set->sources[i].id, UNKNOWN_ROWS_DOOR, LINK_DOOR_CLASS);
		(void) LockAcquire(&tag, ShareLock, false, false);
	}
}

/*
 * Write down that a source may have changed unseen.  Always a mark of our own:
 * whoever clears the marks of others has not seen what we have just changed.
 */
void
segment_mark_stale(SourceSet *set, int source, const char *reason)
{
	Oid			types[2] = {INT4OID, TEXTOID};
	Datum		values[2] = {Int32GetDatum(source), CStringGetTextDatum(reason)};
	Identity	caller;

	segment_become(set->owner, &caller);
	segment_execute_with("INSERT INTO segment.stale_marks (source, reason) VALUES ($1, $2)",
						 2, types, values, NULL, false, NULL, NULL);
	segment_resume(&caller);
}
