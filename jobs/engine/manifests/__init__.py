"""Kubernetes manifests for KubeRay, checked without a cluster: fields, the operator's own rules, and versions.

Nothing here knows of pools or Ray.
"""
