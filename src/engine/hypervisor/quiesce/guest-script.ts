/**
 * Runs one script of the framework in the guest, by its agent, as root.
 *
 * Promises
 *   1. The agent is spoken to only to begin and to look: a script of half an hour keeps nobody else from it.
 *   2. A script's end is its own: programs that it left running in the background, which may hold a database's lock until
 *      the post-script comes, do not keep it from being seen, because what it says goes to a file in /run/holdfast.
 *   3. At most one pre-script and one post-script run at a time. A second post-script waits for the first, and is it.
 *   4. One that takes too long is ended, with all that it began. So is a pre-script whose backup died, by `endGuestScript`;
 *      this finds it by /run/holdfast, which does not survive the guest's boot.
 *
 * What a crash of ours leaves: the script, which goes on in the guest. The journal says that it was begun (instant/journal.ts).
 */
import { type Clock, isHoldfastError } from '#base'
import { type AgentClient, withAgent } from '../agent/client.ts'
import { beginGuestExec, type GuestExecResult, guestExec, pollGuestExec } from '../agent/guest.ts'
import type { GuestScript } from './script-settings.ts'

export type ScriptKind = 'pre' | 'post'

export type GuestChannel = Readonly<{ agentSocketPath: string; clock: Clock; signal?: AbortSignal | undefined }>

export type ScriptEnd = Readonly<{
  /** warned: it ended with 2, which Azure takes for success. */
  outcome: 'succeeded' | 'warned' | 'failed' | 'timed_out'
  exitCode?: number
  /** The end of what it said. */
  said: string
}>

const COMMON = `
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
cd /
d=/run/holdfast
mkdir -p $d || exit 126
kind=$1
shift
begun() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20; }
running() {
  [ -f $d/$kind.pid ] || return 1
  p= t=
  read -r p t < $d/$kind.pid
  [ -n "$t" ] && [ "$t" = "$(begun "$p")" ]
}
`
/** In a session of its own, so that it can be ended whole; its exit code is this program's. */
const RUN = `${COMMON}
while running; do
  sleep 1
  if [ $kind = post ] && ! running; then exit 0; fi
done
session=
command -v setsid > /dev/null && session=setsid
$session "$@" < /dev/null > $d/$kind.log 2>&1 &
p=$!
echo "$p $(begun $p)" > $d/$kind.pid
wait $p
code=$?
rm -f $d/$kind.pid
tail -c 2000 $d/$kind.log
exit $code
`
const END = `${COMMON}
running || exit 0
kill -TERM -$p 2> /dev/null || kill -TERM $p
for second in 1 2 3; do
  running || exit 0
  sleep 1
done
kill -KILL -$p 2> /dev/null || kill -KILL $p
exit 0
`
const WARNING = 2
const POLL_MS = 50
const READY_MS_MAX = 5_000
const END_MS_MAX = 15_000
/** The agent is away for a moment: another task speaks with it, the guest is busy, somebody froze it. */
const AWAY = ['agent_busy', 'agent_unavailable', 'agent_frozen'] as const

/**
 * Speaks with the agent as soon as it listens. Only what was refused before it was asked is asked again.
 * @throws the agent's silence, after `endMs`
 */
async function whenThere<T>(channel: GuestChannel, endMs: number, ask: (agent: AgentClient) => Promise<T>): Promise<T> {
  const { agentSocketPath, clock, signal } = channel
  for (;;) {
    try {
      return await withAgent(agentSocketPath, { clock, lockTimeoutMs: READY_MS_MAX, readyTimeoutMs: READY_MS_MAX }, ask)
    } catch (error) {
      if (!isHoldfastError(error, ...AWAY) || clock.monotonicMs() >= endMs) throw error
    }
    await clock.sleep(POLL_MS, signal)
  }
}

/** One try; undefined when it was not over at `endMs`. */
async function runOnce(
  channel: GuestChannel,
  kind: ScriptKind,
  script: GuestScript,
  endMs: number,
): Promise<GuestExecResult | undefined> {
  const { clock, signal } = channel
  const args = ['-c', RUN, 'holdfast-script', kind, script.path, ...script.args]
  const pid = await whenThere(channel, endMs, (agent) => beginGuestExec(agent, { path: '/bin/sh', args }))
  for (let pollMs = POLL_MS; ; pollMs = Math.min(pollMs * 2, script.pollMsMax)) {
    const ended = await whenThere(channel, endMs, (agent) => pollGuestExec(agent, pid))
    if (ended !== undefined || clock.monotonicMs() >= endMs) return ended
    await clock.sleep(Math.min(pollMs, Math.max(1, endMs - clock.monotonicMs())), signal)
  }
}

/** Ends the script if it still runs, as after a crash of whoever began it. @throws the agent's silence */
export async function endGuestScript(channel: GuestChannel, kind: ScriptKind): Promise<void> {
  const { clock } = channel
  const args = ['-c', END, 'holdfast-script', kind]
  await whenThere(channel, clock.monotonicMs() + END_MS_MAX, (agent) =>
    guestExec(agent, clock, { path: '/bin/sh', args, timeoutMs: END_MS_MAX }),
  )
}

/**
 * Runs the script until a try succeeds, the tries or the time are over.
 * @throws the agent's silence for that long, `cancelled`; the script may go on in the guest then
 */
export async function runGuestScript(channel: GuestChannel, kind: ScriptKind, script: GuestScript): Promise<ScriptEnd> {
  const { clock } = channel
  const endMs = clock.monotonicMs() + script.timeoutMs
  for (let tries = 1; ; tries += 1) {
    const ended = await runOnce(channel, kind, script, endMs)
    if (ended === undefined) {
      await endGuestScript(channel, kind)
      return { outcome: 'timed_out', said: '' }
    }
    const { exitCode } = ended
    const said = `${ended.stdout.toString('utf8')}${ended.stderr.toString('utf8')}`.trim()
    if (exitCode === 0) return { outcome: 'succeeded', exitCode, said }
    if (exitCode === WARNING) return { outcome: 'warned', exitCode, said }
    if (tries > script.retries || clock.monotonicMs() >= endMs) return { outcome: 'failed', exitCode, said }
  }
}
