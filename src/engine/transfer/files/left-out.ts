/** What an archive says of what it does not hold. */
import type { Skipped } from './extract.ts'

export const LEFT_OUT_NAME = 'LEFT-OUT.txt'

export function leftOutText(skipped: readonly Skipped[]): Buffer {
  const lines = skipped.map(({ path, reason }) => `${path.replace(/\p{Cc}/gu, '?')}: ${reason}`)
  return Buffer.from(`These are on the disk and not in this archive.\n\n${lines.join('\n')}\n`)
}
