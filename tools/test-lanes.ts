/**
 * Which test files may run beside another. An emulated guest takes a whole core and has deadlines, so a file that boots one
 * runs with nothing beside it; all others run two at once. What boots a guest is read from the files themselves: whoever
 * starts QEMU by name, or imports somebody in `test/` who does.
 */
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { importsOf } from './layers.ts'

const STARTS_A_GUEST = /qemu-system-x86_64|micro-guest|guest-process/

/**
 * Files of the long form alone (`script/test --long`, test/rig/long.ts): minutes of emulated guests each, for parts that others of
 * the files look at too.
 */
export const LONG_FILES: readonly string[] = [
  'test/api/machine-changes-kill.test.ts',
  'test/api/many-machines.test.ts',
  'test/api/restores-across.test.ts',
  'test/api/restores-kill.test.ts',
  'test/files/unclean.test.ts',
  'test/files/volumes.test.ts',
  'test/hypervisor/guest-scripts-crash.test.ts',
  'test/transfer/database.test.ts',
]

export type ReadText = (path: string) => string
export type Lanes = Readonly<{ together: readonly string[]; alone: readonly string[] }>

function bootsGuest(path: string, read: ReadText, known: Map<string, boolean>): boolean {
  const earlier = known.get(path)
  if (earlier !== undefined) return earlier
  known.set(path, false) // a cycle adds nothing
  const text = read(path)
  const near = importsOf(text).filter((specifier) => specifier.startsWith('.'))
  const boots =
    STARTS_A_GUEST.test(text) ||
    near.some((specifier) => bootsGuest(normalize(join(dirname(path), specifier)), read, known))
  known.set(path, boots)
  return boots
}

/** @param read Gives a file's text; only to be replaced in tests. */
export function lanesOf(files: readonly string[], read: ReadText = (path) => readFileSync(path, 'utf8')): Lanes {
  const known = new Map<string, boolean>()
  return {
    together: files.filter((file) => !bootsGuest(file, read, known)),
    alone: files.filter((file) => bootsGuest(file, read, known)),
  }
}
