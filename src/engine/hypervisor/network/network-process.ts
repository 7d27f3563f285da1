/**
 * The processes of virtual networks, found by what the kernel says they are: each carries its network and its part in it in
 * its environment from its first instruction (proc(5), environ). So there is no moment between starting one and knowing of
 * it, and nothing is written down that could be out of date.
 *
 * Only processes of our own user, or of the user that we run such processes as, are looked at: anybody may put anything
 * into an environment.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { type Clock, errnoOf, messageOf, must } from '#base'
import { type HostProcess, identityOf, isAlive, signalProcess } from '#runtime'
import { HypervisorError } from '../errors.ts'
import { effectiveUser } from '../qemu/process-user.ts'

/** `holder`: keeps the namespaces; `dhcp …`, `uplink …`: what answers in them; `machine`: a QEMU. */
export type NetworkProcess = HostProcess & Readonly<{ network: string; part: string }>

const NETWORK = 'HOLDFAST_NETWORK'
const PART = 'HOLDFAST_NETWORK_PART'
/** Tools of networks lie where only root's path leads. */
export const TOOL_PATH = `${process.env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`
const START_MS_MAX = 10_000
const SAID_CHARS_MAX = 2000
const END_MS_MAX = 5_000
const END_POLL_MS = 10

/** The words before a program that mark it. */
export function markWords(network: string, part: string): string[] {
  return ['env', `${NETWORK}=${network}`, `${PART}=${part}`]
}

function readProc(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1')
  } catch (error) {
    // Gone, or another user's: then it is none of ours.
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return undefined
    throw error
  }
}

function variableIn(environment: string, name: string): string | undefined {
  const found = environment.split('\0').find((one) => one.startsWith(`${name}=`))
  return found?.slice(name.length + 1)
}

/** @param uids whose processes may be ours */
export function findNetworkProcesses(uids: readonly number[]): NetworkProcess[] {
  const found: NetworkProcess[] = []
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isSafeInteger(pid)) continue
    const environment = readProc(pid, 'environ')
    if (environment === undefined || !environment.includes(`${NETWORK}=`)) continue
    const network = variableIn(environment, NETWORK)
    const part = variableIn(environment, PART)
    const uid = effectiveUser(readProc(pid, 'status') ?? '')?.uid
    const identity = identityOf(pid)
    if (network === undefined || part === undefined || uid === undefined || identity === undefined) continue
    if (uids.includes(uid)) found.push({ ...identity, network, part })
  }
  return found
}

/** Ends it, and returns when it is gone: what it held is free then. */
export async function endProcess(target: HostProcess, clock: Clock): Promise<void> {
  signalProcess(target, 'SIGKILL')
  for (let waitedMs = 0; isAlive(target); waitedMs += END_POLL_MS) {
    if (waitedMs >= END_MS_MAX)
      throw new HypervisorError('network_failed', `The process ${target.pid} of a virtual network does not end.`, {
        facts: { pid: target.pid },
        retry: 'later',
      })
    await clock.sleep(END_POLL_MS)
  }
}

export type StartRequest = Readonly<{
  network: string
  part: string
  words: readonly string[]
  cwd: string
  /** What it says; emptied at each start. */
  logPath: string
}>

/** The environment of such a process: marked, and nothing of ours besides, which may be secret. */
function environmentOf({ network, part }: Pick<StartRequest, 'network' | 'part'>): Record<string, string> {
  return { PATH: TOOL_PATH, LC_ALL: 'C', [NETWORK]: network, [PART]: part }
}

/** The words before a program that goes into the background by itself: marked, as {@link environmentOf}. */
export function backgroundWords(network: string, part: string): string[] {
  return ['env', '-i', ...Object.entries(environmentOf({ network, part })).map(([name, value]) => `${name}=${value}`)]
}

/**
 * Starts a program that says on its descriptor 3 when it is ready, and outlives us. Gives its pid.
 * @throws HypervisorError `network_failed` with its own words
 */
export async function startUntilReady(request: StartRequest): Promise<number> {
  const [program = '', ...args] = request.words
  const log = await open(request.logPath, 'w', 0o600)
  try {
    const child = spawn(program, args, {
      detached: true,
      stdio: ['ignore', log.fd, log.fd, 'pipe'],
      env: environmentOf(request),
      cwd: request.cwd,
    })
    const ready = child.stdio[3] as Readable
    try {
      await untilReady(child, ready)
      return must(child.pid, 'A child that has spoken has a pid')
    } catch (error) {
      child.kill('SIGKILL')
      const said = (await readFile(request.logPath, 'utf8')).slice(-SAID_CHARS_MAX).trim()
      throw networkFailed(request.words, said === '' ? messageOf(error) : said, error)
    } finally {
      ready.destroy()
      child.unref()
    }
  } finally {
    await log.close()
  }
}

function untilReady(child: ChildProcess, ready: Readable): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('it did not become ready')), START_MS_MAX)
    const end = (act: () => void) => (): void => {
      clearTimeout(late)
      act()
    }
    ready.once('data', end(resolve))
    child.once('error', (error) => end(() => reject(error))())
    child.once(
      'exit',
      end(() => reject(new Error('it ended at once'))),
    )
  })
}

/** What a tool of a network failed with, as the last line that it said. */
export function networkFailed(words: readonly string[], said: string, cause?: unknown): HypervisorError {
  const line = said.trim().split('\n').at(-1) ?? ''
  return new HypervisorError('network_failed', `A virtual network could not be made: ${line}.`, {
    facts: { words: words.join(' ').slice(0, 300), said: said.slice(-SAID_CHARS_MAX) },
    retry: 'later',
    cause,
  })
}
