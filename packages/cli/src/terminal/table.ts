import { escapeLine } from './terminal.ts';

/** Formats rows. Each column is as wide as its widest cell. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map(escapeLine));
  const widths = (cells[0] ?? []).map((_, column) =>
    Math.max(...cells.map((row) => length(row[column] ?? ''))),
  );
  const lines = cells.map((row) =>
    row
      .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - length(cell)))
      .join('  ')
      .trimEnd(),
  );
  return lines.map((line) => `${line}\n`).join('');
}

/** Formats names beside their values. Names without a value are left out. */
export function formatFields(fields: Readonly<Record<string, string | undefined>>): string {
  return formatTable(
    Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

/** In characters, not in UTF-16 units. */
function length(text: string): number {
  return [...text].length;
}
