/** Where this user's caches lie (XDG Base Directory Specification). Losing it costs time, never data. */
import { homedir } from 'node:os'
import { join } from 'node:path'

export function cachesFolder(): string {
  const given = process.env['XDG_CACHE_HOME']
  const caches = given === undefined || given === '' ? join(homedir(), '.cache') : given
  return join(caches, 'holdfast')
}
