/**
 * Starts a machine's QEMU so that it outlives us, and so that how it ended is known even when nobody was there to see.
 *
 * QEMU runs under a small shell script in a session of its own: the script waits for QEMU and writes its exit code to the
 * exit record, and keeps the guest's serial output in a log of at most twice SERIAL_BYTES_MAX, whatever the guest prints. It
 * is no part of the guest's life: kill it and QEMU runs on; only the record and the log are lost then. When the log's disk is
 * full or slow, serial output is dropped; QEMU writes to the pipe without waiting, so the guest is not held up.
 *
 * The environment is not handed down (it may hold secrets); nor are file descriptors.
 * A service manager that kills by control group would still end the machines: the unit needs KillMode=process.
 */
import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { MIB } from '#base'

export const SERIAL_BYTES_MAX = MIB

/** The uid and gid that QEMU runs as. Its images, and every folder down to them, must be open to it. */
export type ProcessUser = Readonly<{ uid: number; gid: number; groups?: readonly number[] }>

export type Supervised = Readonly<{
  program: string
  args: readonly string[]
  /** Ties the exit record to this start. */
  runId: string
  exitPath: string
  serialLogPath: string
  /** What QEMU says on standard error; emptied at each start, the one before is kept as `.old`. */
  qemuLogPath: string
  /** A namespace made by `ip netns add`, in which QEMU is to open its taps. */
  networkNamespace?: string
  /** The words that enter a virtual network and drop what QEMU must not have; then `user` is among them. */
  entrance?: readonly string[]
  user?: ProcessUser
}>

/** dd writes what it reads at once (head would keep 4 KiB back); both sides end when QEMU closes its end of the pipe. */
const SCRIPT = `
run=$1 exit_file=$2 serial=$3 limit=$4; shift 4
{
  "$@"
  code=$?
  printf '%s %s %s\\n' "$run" "$code" "$(date +%s)" > "$exit_file.tmp" && mv -f "$exit_file.tmp" "$exit_file"
} | {
  while dd of="$serial" bs=4096 count="$limit" iflag=count_bytes status=none 2>/dev/null &&
    [ "$(wc -c < "$serial")" -ge "$limit" ]
  do mv -f "$serial" "$serial.old"; done
  exec cat > /dev/null
}
`

/** The words before the program: entering the namespace, then dropping the user, each by exec so that the pid stays. */
export function wrapProgram(
  program: string,
  options: Pick<Supervised, 'networkNamespace' | 'entrance' | 'user'>,
): readonly string[] {
  const { networkNamespace, entrance, user } = options
  if (entrance !== undefined) return [...entrance, program]
  return [
    ...(networkNamespace === undefined ? [] : ['nsenter', `--net=/run/netns/${networkNamespace}`, '--']),
    ...(user === undefined ? [] : setUserWords(user)),
    program,
  ]
}

/** The words before a program that is to run as that user. */
export function setUserWords({ uid, gid, groups = [] }: ProcessUser): readonly string[] {
  const others = groups.length > 0 ? `--groups=${groups.join(',')}` : '--clear-groups'
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, others, '--no-new-privs', '--']
}

const SAFE_ENVIRONMENT = ['PATH', 'LANG', 'TZ', 'TMPDIR'] as const

function environment(): Record<string, string> {
  const kept: Record<string, string> = { LC_ALL: 'C' }
  for (const name of SAFE_ENVIRONMENT) {
    const value = process.env[name]
    if (value !== undefined) kept[name] = value
  }
  return kept
}

/** Starts it and returns at once; whether the machine came up is asked elsewhere. @throws when there is no shell. */
export async function startSupervised(request: Supervised): Promise<void> {
  const log = await open(request.qemuLogPath, 'a', 0o600)
  try {
    const words = [...wrapProgram(request.program, request), ...request.args]
    const child = spawn(
      '/bin/sh',
      [
        '-c',
        SCRIPT,
        'holdfast-machine',
        request.runId,
        request.exitPath,
        request.serialLogPath,
        `${SERIAL_BYTES_MAX}`,
        ...words,
      ],
      { detached: true, stdio: ['ignore', 'ignore', log.fd], env: environment(), cwd: '/' },
    )
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    child.unref()
  } finally {
    await log.close()
  }
}
