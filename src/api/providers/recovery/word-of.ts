/** A value of a body as it is compared with words and named in refusals: texts as they are, anything else as JSON. */
export function wordOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null)
}
