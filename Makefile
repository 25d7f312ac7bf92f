# The interface that people and scripts use. Each target is a small script in deploy/.
# Settings are given as `make up ETCD_PORT=12379`; those of `make up` are remembered in .run/ for the other targets.

.DEFAULT_GOAL := help
.PHONY: help demo up down purge status env push images plugin preflight check test test-faults test-vm test-all bench

help: ## this list
	@echo 'OpenEBS on Docker hosts: volumes that are served over iSCSI, and a registry of what runs.'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo 'Settings: STORE=etcd://host:port (your etcd; STORE=own goes back to one on this host), ETCD_PORT, ETCD_PEER_PORT,'
	@echo '          REGISTRATOR_PORT, ROOT (folder of volumes; stays as it is until make purge), OPENEBS_HOST, OPENEBS_PORTS,'
	@echo '          OPENEBS_ATTACH, OPENEBS_LOG_LEVEL, BASE and ETCD_IMAGE (images); DOCKER_HOST or a context names the daemon.'

demo: ## a host from nothing, and the story of a volume on it
	@sh deploy/demo.sh
up: ## set up what is missing on this host; a second time takes seconds
	@sh deploy/up.sh
down: ## end all that make up started; data are kept
	@sh deploy/down.sh
purge: ## remove exactly what make up added, data too (asks; FORCE=1 does not)
	@sh deploy/purge.sh
status: ## a line for each part: healthy, or the reason
	@sh deploy/status.sh
env: ## shell exports for docker, etcdctl and curl: eval "$(make -s env)"
	@sh deploy/env.sh
preflight: ## can this machine be a host? changes nothing
	@sh deploy/preflight.sh
images: ## build the images
	@sh deploy/images.sh
plugin: images ## assemble the managed plugin in build/plugin
	@sh deploy/plugin.sh assemble
push: ## push plugin and images: make push TO=host/name
	@sh deploy/push.sh
check: ## Biome, TypeScript, shellcheck
	@sh deploy/check.sh
test: ## set up what tests need, and run all but the faults
	@sh deploy/test.sh
test-faults: ## break engines, etcds and sidecars, and see what the registry says (FAULT_SEEDS=n, SEEDS=1,2,3)
	@sh deploy/test-faults.sh
test-vm: ## in a virtual machine: losses of power, and a kernel that attaches by itself (POWER_CUTS=n)
	@sh deploy/test-vm.sh
test-all: ## both with ten seeds a fault, and what needs an Engine on each supported one
	@sh deploy/test-all.sh
bench: ## measure
	@sh deploy/bench.sh
