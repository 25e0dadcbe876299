# PostgreSQL extension "segment"
#
#   make, make install, make installcheck   as with every PGXS extension
#   make test    everything, against a throw-away server of its own
#   make demo    a shop in front of your eyes  [DATA=directory] [KEEP=1]
#   make bench   what the extension costs an order  [SIZE=toy]
#
# The last three install the Debian packages that they miss and touch neither
# /usr otherwise nor any existing server.

EXTENSION = segment
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control 2>/dev/null)

MODULE_big = segment
PGFILEDESC = "segment - customer segmentation maintained next to the data"
OBJS = \
	$(WIN32RES) \
	src/saved_plan.o \
	src/result_set.o \
	src/text_fold.o \
	src/calendar.o \
	src/points.o \
	src/configuration.o \
	src/condition_gram.o \
	src/condition_scan.o \
	src/condition.o \
	src/condition_json.o \
	src/classify.o \
	src/ruleset.o \
	src/source.o \
	src/vocabulary.o \
	src/bind.o \
	src/condition_eval.o \
	src/condition_change.o \
	src/condition_sql.o \
	src/figure.o \
	src/stale.o \
	src/row.o \
	src/standing.o \
	src/judge.o \
	src/recalculate.o \
	src/fact.o \
	src/ddl.o \
	src/rule.o \
	src/group.o \
	src/activate.o \
	src/ladder.o \
	src/tick.o \
	src/worker.o \
	src/preview.o \
	src/explain.o \
	src/not_read.o \
	src/attach.o \
	src/segment.o

# `make demo DATA=directory` must not become the list of files to install.
DEMO_DATA := $(DATA)
override DATA = $(wildcard sql/$(EXTENSION)--*--*.sql)
DATA_built = sql/$(EXTENSION)--$(EXTVERSION).sql
DOCS := $(wildcard doc/segment.md doc/conditions.md)

PG_CONFIG ?= pg_config
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
PG_MAJOR := $(shell $(PG_CONFIG) --version 2>/dev/null | sed 's/^[^0-9]*\([0-9]*\).*/\1/')

# The tests, by name: this is the table of contents.
REGRESS = \
	attach \
	shapes \
	statements \
	left_out \
	not_read \
	ladders \
	groups \
	group_sources \
	activate \
	clock \
	lines \
	custom \
	points_offers_tags \
	partitions \
	recalculate \
	ddl_watch \
	replica_sessions \
	identities \
	failures \
	bad_input \
	condition_type \
	condition_json \
	condition_binding \
	to_sql \
	shopify \
	query_builder_fields \
	figures_by_key \
	text_fold \
	phones \
	regions \
	shop_days \
	points_balance \
	explain

ISOLATION = \
	concurrent_orders \
	rr_writer \
	lock_order \
	walk_in \
	tier_visibility \
	customer_order_race \
	return_order_race \
	return_order_race_fk \
	refund_pairs \
	lookup_race \
	recalculate_unknown_rows \
	attach_race \
	attach_second_source \
	fill_race \
	left_out_race \
	fill_ledger_race \
	recalculate_race \
	replica_race \
	detach_concurrently \
	two_admins \
	two_group_admins \
	order_tier_edit \
	order_tag_edit \
	order_group_edit \
	order_tick \
	midnight \
	activate_race

# Tests that need at least this major version; an older server leaves them out
# and `make test` counts them as skipped.
REGRESS_15 = merge merge_partitions
REGRESS_16 = condition_soft_errors
REGRESS_17 =
REGRESS_18 =

MAJORS_TOO_NEW := $(shell for v in 15 16 17 18; do test $$v -gt $(or $(PG_MAJOR),0) && echo $$v; done)
REGRESS += $(foreach v,$(filter-out $(MAJORS_TOO_NEW),15 16 17 18),$(REGRESS_$(v)))
REGRESS_SKIPPED = $(foreach v,$(MAJORS_TOO_NEW),$(REGRESS_$(v)))

# --inputdir: test/sql and test/specs; the answers stay in ./expected.
REGRESS_OPTS = --inputdir=test --encoding=UTF8 --load-extension=$(EXTENSION)
ISOLATION_OPTS = --inputdir=test --outputdir=. --encoding=UTF8 --load-extension=$(EXTENSION)

# `make installcheck ENABLE_TAP=1` needs libipc-run-perl and a user other than root.
ifdef ENABLE_TAP
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl
endif

GENERATED = src/condition_gram.c src/condition_gram.h src/condition_scan.c
EXTRA_CLEAN = results output_iso tmp_check regression.diffs regression.out $(GENERATED)

ifneq ($(PGXS),)
include $(PGXS)

sql/$(EXTENSION)--$(EXTVERSION).sql: sql/$(EXTENSION).sql $(EXTENSION).control
	cp $< $@

# One run of bison makes both files: see src/backend/parser/Makefile.
src/condition_gram.h: src/condition_gram.c
	touch $@
src/condition_gram.c: BISONFLAGS += -d

# PGXS does not track headers; the .bc files are the JIT's.
$(OBJS) $(OBJS:.o=.bc): $(sort $(wildcard src/*.h) src/condition_gram.h)

else
# No PGXS: only the targets below, which install it, and a clean that removes
# what an earlier build left.
.DEFAULT_GOAL := all
ifneq ($(filter-out test demo bench clean,$(or $(MAKECMDGOALS),all)),)
$(error $(PG_CONFIG) finds no server headers (PGXS): apt-get install postgresql-server-dev-15 (Debian 12; elsewhere the number of your PostgreSQL))
endif
.PHONY: clean
clean:
	rm -rf $(OBJS) $(OBJS:.o=.bc) $(MODULE_big).so $(DATA_built) $(EXTRA_CLEAN)
endif

# Runs against the server that PGHOST, PGPORT and PGUSER name, like installcheck.
PG_PROVE ?= pg_prove
PGTAP_DB ?= pgtap_regression
.PHONY: pgtapcheck
pgtapcheck:
	dropdb --if-exists $(PGTAP_DB)
	createdb --template=template0 --encoding=UTF8 $(PGTAP_DB)
	psql -Xq -v ON_ERROR_STOP=1 -d $(PGTAP_DB) -c 'CREATE EXTENSION pgtap' -c 'CREATE EXTENSION $(EXTENSION)'
	$(PG_PROVE) $(PGTAP_FLAGS) -d $(PGTAP_DB) test/pgtap/*.sql

# For test/run.sh: the tests that this server is too old for, and the files
# that somebody forgot to list above.
.PHONY: skipped forgotten
skipped:
	@for t in $(REGRESS_SKIPPED); do echo $$t; done
forgotten:
	@for t in $(filter-out $(REGRESS) $(REGRESS_SKIPPED),$(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql))) \
	          $(filter-out $(ISOLATION),$(patsubst test/specs/%.spec,%,$(wildcard test/specs/*.spec))); do echo $$t; done

.PHONY: test demo bench
test:
	@test/prerequisites.sh test
	@test/with_server.sh -o fsync=off -- test/run.sh

demo:
	@test/prerequisites.sh demo
	@DATA='$(DEMO_DATA)' test/with_server.sh $(if $(KEEP),-k demo) -o fsync=off -- doc/demo/run.sh

bench:
	@test/prerequisites.sh bench
	@test/with_server.sh -- bench/run.sh
