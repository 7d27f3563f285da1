/**
 * Checks the source tree itself: layers, sizes, bans, and documents that must match the code. Prints every breach and
 * exits 1 when there is one. tools/tidy.test.ts plants breaches and sees each found.
 */
import { readFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
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

function trackedFiles(): SourceFile[] {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.ts'], { encoding: 'utf8' })
  return listed
    .split('\n')
    .filter((path) => path !== '')
    .flatMap((path) => {
      try {
        return [{ path, text: readFileSync(path, 'utf8') }]
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [] // deleted in the work tree, still listed by git
        throw error
      }
    })
}

if (import.meta.main) {
  const found = tidy(trackedFiles())
  for (const breach of found) process.stderr.write(`${breach}\n`)
  if (found.length > 0) process.exitCode = 1
}
