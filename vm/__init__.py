# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: test kernels, guests and workloads for someone without a spare machine."""
