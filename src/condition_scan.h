/*
 * condition_scan.h
 *		What grammar and scanner of the condition language share.
 */
#ifndef SEGMENT_CONDITION_SCAN_H
#define SEGMENT_CONDITION_SCAN_H

#include "condition.h"

#ifndef YY_TYPEDEF_YY_SCANNER_T
#define YY_TYPEDEF_YY_SCANNER_T
typedef void *yyscan_t;
#endif

union SEGMENT_CONDITION_YYSTYPE;

extern int	segment_condition_yylex(union SEGMENT_CONDITION_YYSTYPE *value, ConditionReader *reader, yyscan_t scanner);
extern void segment_condition_yyerror(ConditionReader *reader, yyscan_t scanner, const char *message);

#endif							/* SEGMENT_CONDITION_SCAN_H */
