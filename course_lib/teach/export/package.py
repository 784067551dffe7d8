"""Zip files with the same bytes for the same content, and the manifests of IMS packages."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from course_lib.teach.export.items import document, sub

WHEN = (2000, 1, 1, 0, 0, 0)  # of every entry, so that the same content gives the same bytes


def pack(content: Mapping[str, bytes]) -> bytes:
    """Give a zip of the files, in the order of their names."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, WHEN)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, content[name])
    return target.getvalue()


@dataclass(frozen=True)
class Resource:
    """A line of a manifest: what a file is, which files belong to it, what it needs."""

    identifier: str
    kind: str
    files: Sequence[str]
    needs: Sequence[str] = ()


def manifest(
    identifier: str, namespace: str, kind: tuple[str, str], resources: Sequence[Resource]
) -> bytes:
    """Give ``imsmanifest.xml``.

    Args:
        identifier: of the package. namespace: of the version of content packaging.
        kind: schema and schemaversion. resources: every file, the first of each is its own.
    """
    root = ET.Element("manifest", {"xmlns": namespace, "identifier": identifier})
    told = sub(root, "metadata")
    sub(told, "schema", kind[0])
    sub(told, "schemaversion", kind[1])
    sub(root, "organizations")
    listed = sub(root, "resources")
    for r in resources:
        each = sub(listed, "resource", identifier=r.identifier, type=r.kind, href=r.files[0])
        for name in r.files:
            sub(each, "file", href=name)
        for other in r.needs:
            sub(each, "dependency", identifierref=other)
    ET.indent(root, " ")
    return document(root)
