/*
 * configuration.c
 *		Settings of the shop.
 */
#include "segment.h"

#include "catalog/pg_type.h"
#include "configuration.h"
#include "saved_plan.h"
#include "utils/builtins.h"

/* The value of a setting in force, in the current context.  Must run inside SPI. */
char *
segment_setting(const char *name)
{
	Oid			types[1] = {TEXTOID};
	Datum		value = CStringGetTextDatum(name);
	Identity	caller;

	segment_become(segment_owner(), &caller);
	segment_execute_with("SELECT segment._setting($1)", 1, types, &value, NULL, false, NULL, NULL);
	segment_resume(&caller);
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}
