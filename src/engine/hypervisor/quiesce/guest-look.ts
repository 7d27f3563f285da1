/**
 * What a guest says about how it wants to be quieted: which system it is, what its agent may do, the two files of the script
 * framework, the agent's own freeze hooks. One program of the guest's shell shows all of it; nothing in the guest is changed.
 *
 * The guest is not trusted: what it shows is only ever acted on inside itself, and has bounds.
 */
import { type Clock, isHoldfastError } from '#base'
import type { AgentClient } from '../agent/client.ts'
import { guestExec } from '../agent/guest.ts'
import { isObject, textOr } from '../qmp/shape.ts'
import { FREEZE_SETTINGS_PATH } from './freeze-settings.ts'
import { SCRIPT_SETTINGS_PATH } from './script-settings.ts'

export type GuestFile = Readonly<{ ownerId: number; mode: number; text: string }>

export type GuestLook = Readonly<{
  system: 'windows' | 'other'
  /** The agent may run programs; distributions forbid it in its settings. */
  runsPrograms: boolean
  /** The agent can freeze chosen file systems. */
  freezesSome: boolean
  scriptSettings?: GuestFile
  freezeSettings?: GuestFile
  /** Programs that the agent's own hook runs at every freeze. */
  hooks: readonly string[]
}>

const LOOK_MS_MAX = 10_000
const FILE_BYTES_MAX = 65_536
const HOOKS_MAX = 100

/**
 * The agent is the parent of this shell; only one that was started with a hook runs it. A line is "name uid mode bytes", then
 * so many bytes and a line's end; or "hook path".
 */
const LOOK = `
show() {
  [ -f "$2" ] || return 0
  bytes=$(head -c ${FILE_BYTES_MAX} "$2" | wc -c)
  echo "$1 $(stat -L -c '%u %a' "$2")" $bytes
  head -c $bytes "$2"
  echo
}
show scripts ${SCRIPT_SETTINGS_PATH}
show freeze ${FREEZE_SETTINGS_PATH}
if tr '\\0' ' ' < "/proc/$PPID/cmdline" | grep -q -e ' -F' -e '--fsfreeze-hook' ||
   grep -qs '^ *fsfreeze-hook' /etc/qemu/qemu-ga.conf /etc/qemu-ga/qemu-ga.conf; then
  for hook in /etc/qemu/fsfreeze-hook.d/* /etc/qemu-ga/fsfreeze-hook.d/*; do
    case $hook in *.sample|*.rpmsave|*.rpmorig|*.rpmnew|*~) continue ;; esac
    if [ -f "$hook" ] && [ -x "$hook" ]; then echo "hook $hook"; fi
  done
fi
exit 0
`

type Shown = Pick<GuestLook, 'scriptSettings' | 'freezeSettings' | 'hooks'>

/** Reads what LOOK wrote. What does not follow its shape is not there. Pure. */
export function readLook(bytes: Buffer): Shown {
  let scriptSettings: GuestFile | undefined
  let freezeSettings: GuestFile | undefined
  const hooks: string[] = []
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(0x0a, at)
    if (end < 0) break
    const line = bytes.toString('utf8', at, end)
    at = end + 1
    const [, name, ownerId, mode, length] = /^(scripts|freeze) (\d+) ([0-7]+) +(\d+)$/.exec(line) ?? []
    if (name !== undefined) {
      const text = bytes.toString('utf8', at, at + Number(length))
      const file = { ownerId: Number(ownerId), mode: Number.parseInt(mode ?? '', 8), text }
      if (name === 'scripts') scriptSettings = file
      else freezeSettings = file
      at += Number(length) + 1
    } else if (line.startsWith('hook ') && hooks.length < HOOKS_MAX) hooks.push(line.slice('hook '.length))
  }
  return { ...(scriptSettings && { scriptSettings }), ...(freezeSettings && { freezeSettings }), hooks }
}

/** The names of the commands that the agent may run; undefined where it does not say. */
async function enabledCommands(agent: AgentClient): Promise<ReadonlySet<string> | undefined> {
  const info = await agent.command('guest-info')
  const listed = isObject(info) ? info['supported_commands'] : undefined
  if (!Array.isArray(listed)) return undefined
  const enabled = listed.filter((one) => isObject(one) && one['enabled'] === true)
  return new Set(enabled.map((one) => (isObject(one) ? textOr(one['name'], '') : '')))
}

async function systemOf(agent: AgentClient, enabled: ReadonlySet<string> | undefined): Promise<GuestLook['system']> {
  if (enabled?.has('guest-get-osinfo') === false) return 'other'
  const os = await agent.command('guest-get-osinfo')
  return isObject(os) && os['id'] === 'mswindows' ? 'windows' : 'other'
}

/** @throws what the agent's silence raises */
export async function lookAtGuest(agent: AgentClient, clock: Clock): Promise<GuestLook> {
  const enabled = await enabledCommands(agent)
  const may = (name: string): boolean => enabled?.has(name) ?? true
  const system = await systemOf(agent, enabled)
  const runsPrograms = may('guest-exec') && may('guest-exec-status')
  const freezesSome = may('guest-fsfreeze-freeze-list') && may('guest-get-fsinfo')
  const shown = system === 'windows' || !runsPrograms ? undefined : await runLook(agent, clock)
  return { system, runsPrograms: shown !== undefined, freezesSome, ...(shown ?? { hooks: [] }) }
}

/** undefined: the guest has no shell that runs it, or nothing came of it. Such a guest can be frozen all the same. */
async function runLook(agent: AgentClient, clock: Clock): Promise<Shown | undefined> {
  const request = { path: '/bin/sh', args: ['-c', LOOK], timeoutMs: LOOK_MS_MAX }
  try {
    const { exitCode, stdout } = await guestExec(agent, clock, request)
    return exitCode === 0 ? readLook(stdout) : undefined
  } catch (error) {
    if (isHoldfastError(error, 'agent_command_failed', 'timed_out')) return undefined
    throw error
  }
}

/** Owner and mode of regular files, in the order of `paths`; undefined for what is not there. */
export async function lookAtFiles(
  agent: AgentClient,
  clock: Clock,
  paths: readonly string[],
): Promise<(Omit<GuestFile, 'text'> | undefined)[]> {
  const each = `for f in "$@"; do if [ -f "$f" ]; then stat -L -c '%u %a' "$f"; else echo -; fi; done`
  const args = ['-c', each, 'sh', ...paths]
  const { stdout } = await guestExec(agent, clock, { path: '/bin/sh', args, timeoutMs: LOOK_MS_MAX })
  const lines = stdout.toString('utf8').split('\n')
  return paths.map((_path, i) => {
    const [, ownerId, mode] = /^(\d+) ([0-7]+)$/.exec(lines[i] ?? '') ?? []
    return mode === undefined ? undefined : { ownerId: Number(ownerId), mode: Number.parseInt(mode, 8) }
  })
}
