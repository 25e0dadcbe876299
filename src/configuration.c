/*
 * configuration.c
 *		Settings of the shop.
 */
#include "segment.h"

#include "catalog/pg_type.h"
#include "configuration.h"
#include "saved_plan.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* The value of a setting in force, in the current context.  Must run inside SPI. */
char *
segment_setting(const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {TEXTOID};
	Datum		value = CStringGetTextDatum(name);
	char	   *shown;

	segment_execute_with("SELECT segment._setting($1)", 1, types, &value, NULL, false, NULL, NULL);
	shown = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	return shown ? MemoryContextStrdup(context, shown) : NULL;
}
