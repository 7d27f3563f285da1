/**
 * Where a home is, and what its processes write there for others to find them by. Apart from the server, so that a command
 * that only asks one need not load it.
 */
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

export type Environment = Readonly<Record<string, string | undefined>>

/** HOLDFAST_HOME as it is given, else /var/lib/holdfast for root, else the user's state folder (XDG Base Directory Specification). */
export function usualHome(environment: Environment, isRoot: boolean): string {
  const { HOLDFAST_HOME: given, XDG_STATE_HOME: state } = environment
  if (given !== undefined && given !== '') return given
  if (isRoot) return '/var/lib/holdfast'
  return join(state !== undefined && isAbsolute(state) ? state : join(homedir(), '.local', 'state'), 'holdfast')
}

/** The file in which a process of the home says how it is found. */
export function recordPath(home: string, name: string): string {
  return join(home, 'run', `${name}.json`)
}
