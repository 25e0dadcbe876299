/*
 * classify.h
 *		Which tiers and groups a customer is in: pure.
 */
#ifndef SEGMENT_CLASSIFY_H
#define SEGMENT_CLASSIFY_H

#include "condition_eval.h"

typedef struct Tier
{
	int			id;
	char	   *code;
	bool		active;
	bool		has_max;
	bool		takes_all_below;	/* lowest of its ladder, from 0 */
	Numeric		min_value;
	Numeric		max_value;		/* where has_max */
} Tier;

typedef struct Ladder
{
	char	   *code;
	Figure		figure;
	bool		active;
	Numeric		unit;
	int			ntiers;			/* all tiers, by min_value */
	Tier	   *tiers;
	int			nformer;		/* deleted, but still held until everyone is re-ranked */
	Tier	   *former;
} Ladder;

/* a group that was deleted, but is still held until everyone is judged */
typedef struct FormerGroup
{
	int			id;
	char	   *code;
} FormerGroup;

typedef struct Ruleset
{
	int64		version;
	bool		valid;			/* every ladder's ranges are right */
	int			nladders;
	Ladder	   *ladders;
	Bound	   *groups;			/* conditions of all groups over one vector of figures */
	int			nformer;
	FormerGroup *former;
} Ruleset;

/* what a customer is in */
typedef struct Verdict
{
	const Tier **tiers;			/* by ladder, NULL for none */
	bool	   *groups;			/* by group */
	TimestampTz due;			/* when that may next change by time alone, DT_NOEND for never */
} Verdict;

extern Figure segment_figure_by_name(const char *name);
extern const char *segment_figure_names(void);
extern bool segment_figure_is_money(Figure figure);
extern Numeric segment_figure_value(Figure figure, const Facts *facts);
extern void segment_classify(const Ruleset *ruleset, const Facts *facts, FigureValue *figures,
							 const Shop *shop, const bool *wanted, Verdict *verdict);
extern const Tier *segment_tier_reached(const Ladder *ladder, const Facts *facts);
extern const Tier *segment_tier_by_id(const Ruleset *ruleset, int id, const Ladder **ladder);

#endif							/* SEGMENT_CLASSIFY_H */
