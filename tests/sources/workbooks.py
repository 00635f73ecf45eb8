"""Write small xlsx workbooks, with everything that a spreadsheet may contain."""

import io
import zipfile
from collections.abc import Sequence
from xml.sax import saxutils

from worker.sources import table

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"

DATE_STYLE = 1


class Raw(str):
    """The XML of a cell's attributes and content, as in `Raw('t="e"><v>#N/A</v>')`."""

    __slots__ = ()


def sheet(rows: Sequence[Sequence[object]], *, hidden: Sequence[int] = (), merged: Sequence[str] = ()) -> str:
    """Return the XML of a worksheet."""
    lines = []
    for number, row in enumerate(rows, 1):
        cells = "".join(_cell(table.cell_name((number, column)), value) for column, value in enumerate(row, 1))
        attributes = f'r="{number}" hidden="{int(number in hidden)}"'
        lines.append(f"<row {attributes}>{cells}</row>")
    ranges = "".join(f'<mergeCell ref="{each}"/>' for each in merged)
    merges = f"<mergeCells>{ranges}</mergeCells>" if merged else ""
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData>{merges}</worksheet>'


def _cell(name: str, value: object) -> str:
    if isinstance(value, Raw):
        return f'<c r="{name}" {value}</c>'
    if isinstance(value, str):
        return f'<c r="{name}" t="inlineStr"><is><t>{saxutils.escape(value)}</t></is></c>' if value else ""
    if isinstance(value, bool):
        return f'<c r="{name}" t="b"><v>{int(value)}</v></c>'
    return f'<c r="{name}"><v>{value}</v></c>'


def workbook(*sheets: str, states: Sequence[str] = ()) -> bytes:
    """Return a workbook of these worksheets; `states` are theirs, "visible" if there is none."""
    entries, relations, overrides = [], [], []
    for number in range(1, len(sheets) + 1):
        state = states[number - 1] if number <= len(states) else "visible"
        entries.append(f'<sheet name="Sheet{number}" sheetId="{number}" state="{state}" r:id="rId{number}"/>')
        relations.append(
            f'<Relationship Id="rId{number}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        )
        overrides.append(
            f'<Override PartName="/xl/worksheets/sheet{number}.xml" '
            'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        )
    relations.append(f'<Relationship Id="rIdS" Type="{_OFFICE}/styles" Target="styles.xml"/>')
    files = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/xl/workbook.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
        f"{''.join(overrides)}</Types>",
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">'
        f"<sheets>{''.join(entries)}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f"{''.join(relations)}</Relationships>",
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}">'
        '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',
        **{f"xl/worksheets/sheet{number}.xml": text for number, text in enumerate(sheets, 1)},
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return data.getvalue()
