/**
 * Checks the source tree itself: layers, sizes, bans, and documents that must match the code. Prints every breach and
 * exits 1 when there is one. tools/tidy.test.ts plants breaches and sees each found.
 */
import { existsSync, readFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { findDeadPaths } from './doc-paths.ts'
import { findBreaches, type SourceFile } from './layers.ts'

const FILE_LINES_MAX = 400

const BANS: readonly { pattern: RegExp; where: RegExp; except?: RegExp; reason: string }[] = [
  { pattern: /\bMath\.random\(/, where: /^src\//, reason: 'chance comes from the Random that was passed in' },
  {
    pattern: /\bDate\.now\(|\bnew Date\(\)/,
    where: /^(src|sim)\//,
    except: /^src\/runtime\//,
    reason: 'time comes from the Clock',
  },
  {
    pattern: /catch\s*(\([^)]*\))?\s*\{\s*\}/,
    where: /^(src|sim)\//,
    reason: 'a swallowed error needs a comment that proves the loss harmless',
  },
  {
    pattern: /\b(TODO|FIXME|XXX)\b/,
    where: /^(src|sim|test|bench)\//,
    reason: 'finish it, or write it into the issue',
  },
]

/** Breaches of the line-level rules in one file, as sentences. */
export function tidyFile(file: SourceFile): string[] {
  const found: string[] = []
  const lines = file.text.split('\n').length - 1
  if (file.path.startsWith('src/') && !file.path.endsWith('.test.ts') && lines > FILE_LINES_MAX) {
    found.push(`${file.path}: ${lines} lines; a source file has at most ${FILE_LINES_MAX}`)
  }
  for (const ban of BANS) {
    if (!ban.where.test(file.path) || ban.except?.test(file.path)) continue
    if (ban.pattern.test(file.text)) found.push(`${file.path}: ${ban.reason} (${ban.pattern.source})`)
  }
  if (/^src\/(.*\/)?(utils|helpers|common|shared|types|managers)(\/|\.ts$)/.test(file.path)) {
    found.push(`${file.path}: a file is named after what it is, not "utils" and the like`)
  }
  return found
}

/** Checks all files; pure over its input. */
export function tidy(files: readonly SourceFile[]): string[] {
  const sources = files.filter((file) => file.path.startsWith('src/'))
  const layers = findBreaches(sources).map((b) => `${b.path}: imports ${b.imported || '(nothing)'}: ${b.reason}`)
  return [...layers, ...files.flatMap(tidyFile)]
}

function trackedPaths(): string[] {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { encoding: 'utf8' })
  return listed.split('\n').filter((path) => path !== '' && existsSync(path)) // git still lists what the work tree deleted
}

function read(path: string): SourceFile {
  return { path, text: readFileSync(path, 'utf8') }
}

if (import.meta.main) {
  const paths = trackedPaths()
  const documents = paths.filter((path) => path.endsWith('.md')).map(read)
  const found = [...tidy(paths.filter((path) => path.endsWith('.ts')).map(read)), ...findDeadPaths(documents, paths)]
  for (const breach of found) process.stderr.write(`${breach}\n`)
  if (found.length > 0) process.exitCode = 1
}
