/** State that must outlive this process (XDG Base Directory Specification). */
import { homedir } from 'node:os'
import { join } from 'node:path'

export function stateFolder(): string {
  const given = process.env['XDG_STATE_HOME']
  return join(given === undefined || given === '' ? join(homedir(), '.local', 'state') : given, 'holdfast')
}
