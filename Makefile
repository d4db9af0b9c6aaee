# The words of the project. Every one sets up what it needs first.
SHELL := /bin/bash
VENV := build/venv/bin
export PATH := $(CURDIR)/$(VENV):$(PATH)
export PYTHONPATH := $(CURDIR)/build/python:$(CURDIR)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

export SEEDS TIMES

.PHONY: help setup demo test test-full lint unit simulate mutants scenario fig3 story-runs picture lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: ## system packages and the controller's environment
	@bin/setup

demo: setup ## the whole story on virtual machines; KEEP=1 leaves them up
	@python -m tests.story.demo $(if $(KEEP),--keep)

lint: setup ## every linter
	@python -m tests.phases lint

unit: setup ## tests without machines
	@python -m tests.phases unit

simulate: setup ## takeovers in virtual time under random faults; SEEDS=1-20000 a range, SEEDS=17 one with its trace, p17 of a pair of stores
	@python -m tests.simulation $(if $(TRACE),--trace)

mutants: setup ## plants faults in the product and prints what caught each
	@python -m tests.simulation.mutants

scenario: setup ## molecule on virtual machines
	@python -m tests.phases scenario

fig3: setup ## a cut of the whole network on virtual machines (28 guests): mail on all ways, who reaches whom
	@python -m tests.phases fig3

test: setup ## everything that CI runs
	@python -m tests.phases lint unit simulate lab scenario

test-full: test ## what does not fit into CI, too; TIMES=3 plays each outage three times in a row
	@python -m tests.phases full

story-runs: setup ## the story again and again, power cut at a random moment; RUNS=20 SEED=1 LAB=name ADD=1
	@python -m tests.full.story_runs --runs $(or $(RUNS),20) $(if $(SEED),--seed $(SEED)) $(if $(LAB),--lab $(LAB)) $(if $(ADD),--add)

picture: setup ## docs/network-*.svg, drawn from the inventories
	@for name in compact full; do \
		ansible-playbook -i inventories/$$name playbooks/picture.yml -e picture=$(CURDIR)/docs/network-$$name.svg || exit 1; done

lock: setup ## write requirements.txt from requirements.in
	@rm -rf build/lock && python -m venv build/lock && build/lock/bin/pip install -q -r requirements.in
	@build/lock/bin/pip freeze > requirements.txt && rm -rf build/lock

clean: ## remove what was built; labs are ended first
	@test ! -x $(VENV)/python || bin/lab down --purge || true
	@rm -rf build .lab
