# SPDX-License-Identifier: GPL-3.0-or-later
"""The option of every module that works by the monitor's configuration."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  config:
    description: The monitor's configuration on this host, for the coordinator's address and all else it names.
    type: path
    default: /etc/holdfast/monitor.yml
"""
