/**
 * A log file of bounded size: when a line would make it longer than its bound it is renamed to `.1`, that to `.2`, and so
 * on; the oldest goes. Together they hold at most `bytesMax` times one more than `kept`, and what one line has.
 *
 * Writing never throws and never waits for space: a log is for people, and a full or broken disk must not keep a process
 * from its work. What could not be written is counted, and told in the next line that can be.
 * One process writes a file; a second one may, and then rotation may cost lines.
 */
import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs'

export type RotatingFile = Readonly<{
  /** Writes the text, which ends with a line's end, before it returns. */
  write: (text: string) => void
  close: () => void
}>

export type RotationLimits = Readonly<{ bytesMax: number; kept: number }>

type Open = { fd: number; bytes: number }

function open(path: string): Open {
  const fd = openSync(path, 'a', 0o600)
  return { fd, bytes: fstatSync(fd).size }
}

/** Writes all of it. @throws what the system says */
export function writeWhole(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done)
}

function shift(path: string, kept: number): void {
  for (let number = kept; number > 0; number -= 1) {
    try {
      renameSync(number === 1 ? path : `${path}.${number - 1}`, `${path}.${number}`)
    } catch {
      // There is none of that number yet; or it cannot be renamed, and then the file grows until it can.
    }
  }
}

export function createRotatingFile(path: string, { bytesMax, kept }: RotationLimits): RotatingFile {
  let file: Open | undefined
  let lost = 0
  const rotate = (): void => {
    if (file === undefined) return
    closeSync(file.fd)
    file = undefined
    shift(path, kept)
  }
  const append = (text: string): void => {
    file ??= open(path)
    if (file.bytes > 0 && file.bytes + Buffer.byteLength(text) > bytesMax) {
      rotate()
      file = open(path)
    }
    writeWhole(file.fd, text)
    file.bytes += Buffer.byteLength(text)
  }
  return {
    write: (text) => {
      try {
        const missing = lost
        append(missing === 0 ? text : `{"level":40,"msg":"${missing} lines could not be written"}\n${text}`)
        lost -= missing
      } catch {
        lost += 1 // Told when there is space again.
      }
    },
    close: () => {
      if (file !== undefined) closeSync(file.fd)
      file = undefined
    },
  }
}
