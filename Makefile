# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
#
## make tune     size, persist, apply and verify conntrack on the hosts of INVENTORY
## make audit    show the same table and what tune would change; changes nothing. TREE=DIR[,DIR...]: of images, chroots, sosreports
##               REPORT=DIR: written there as a page, and for machines
## make check    lint, types and the unit tests on one Python, in a minute and a half
## make test     every check that can run here; STEPS="ruff mypy" runs only those
## make bench    measure a run of tune against other ways to do it, hosts that have a module, a million entries, ten thousand processes, the cures
## make lab      start three virtual machines to try things on: Debian 11, 12 and 13, listed in .cache/lab/inventory.yml
## make lab-ssh HOST=bookworm     a shell on one of them
## make lab-down                  end them
## make survival what survives restarts, reloads and reboots, and whether that was predicted: on virtual machines; takes hours
##
## INVENTORY=hosts.ini      the hosts: an inventory file, or localhost (the default: this machine, no SSH)
## EXTRA='-e conntrack_max=300000 --check --diff'      more options for ansible-playbook
## PYTHON=/path/to/python3  the Python for the virtual environments (by default the first of 3.11 or later)

INVENTORY ?= localhost
EXTRA ?=
STEPS ?=
HOST ?= bookworm
TREE ?=
REPORT ?=
PYTHON ?=

# What a caller sets is text: without this, make would expand what its command line says. Commands find it in their environment,
# where no shell expands it either; tools/words.py splits EXTRA and STEPS.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(eval override export $$(name) := $$(value $(name)))))
export INVENTORY EXTRA STEPS HOST TREE REPORT PYTHON

.PHONY: help tune audit check test bench lab lab-ssh lab-down survival

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

tune:
	@TREE= tools/play tune "$$INVENTORY"

audit:
	@tools/play audit "$$INVENTORY"

check:
	@tools/venv .venv-test requirements-test.txt
	@.venv-test/bin/python tests/run.py --quick

test:
	@tools/venv .venv-test requirements-test.txt
	@.venv-test/bin/python tools/words.py STEPS .venv-test/bin/python tests/run.py

bench:
	@tools/venv .venv requirements.txt
	@tools/collection
	@.venv/bin/python tools/words.py EXTRA .venv/bin/python -B -m tests.bench.run
	@.venv/bin/python -B -m tests.bench.uml_hosts
	@.venv/bin/python -B -m tests.bench.fleet
	@.venv/bin/python -B -m tests.bench.large
	@.venv/bin/python -B -m tests.bench.crowd
	@.venv/bin/python -B -m tests.bench.cures
	@tools/venv .cache/page requirements-page.txt
	@.cache/page/bin/python -B -m tests.bench.reports

lab:
	@"$${PYTHON:-python3}" tests/lab/lab.py up

lab-ssh:
	@"$${PYTHON:-python3}" tests/lab/lab.py ssh "$$HOST"

lab-down:
	@"$${PYTHON:-python3}" tests/lab/lab.py down

survival:
	@tools/venv .venv requirements.txt
	@tools/collection
	@tools/venv .venv-test requirements-test.txt
	@.venv/bin/python tools/words.py EXTRA .venv/bin/python -B -m tests.survival.run
	@.venv/bin/python -B -m tests.outcome.run
	@.venv-test/bin/python -B tests/survival/kills.py --every 1
	@.venv-test/bin/python -B tests/survival/again.py
	@.venv-test/bin/python -B tests/survival/lost.py --every 2
	@ANSIBLE_COLLECTIONS_PATH="$$PWD/.cache/collections" CUT_OFF_EVERY=1 .venv-test/bin/python -B -m pytest -q -p no:cacheprovider \
		--ansible-playbook="$$PWD/.venv-test/bin/ansible-playbook" tests/integration/test_cut_off.py
	@.venv-test/bin/python -B -m pytest -q -p no:cacheprovider tests/lab/test_uml.py tests/lab/test_unload.py
	@ANSIBLE_COLLECTIONS_PATH="$$PWD/.cache/collections" .venv-test/bin/python -B -m pytest -q -p no:cacheprovider tests/lab/test_first_boot.py
	@ANSIBLE_COLLECTIONS_PATH="$$PWD/.cache/collections" APPLY_CUTS="0.2 0.4 0.6 1 1.5" .venv-test/bin/python -B -m pytest -q -p no:cacheprovider tests/lab/test_apply_script.py
	@SCENARIO_HOSTS=lab .venv-test/bin/python tests/run.py $$(.venv-test/bin/python tests/run.py --list | grep ^molecule-)
