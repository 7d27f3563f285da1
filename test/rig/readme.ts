/** What the README tells people to type, so that tests can type it. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

const README = resolve(import.meta.dirname, '../../README.md')

/** The first block of code of a language below a heading. */
export function readmeBlock(heading: string, language: string): string {
  const text = readFileSync(README, 'utf8')
  const [, below] = text.split(`\n## ${heading}\n`)
  const section = below?.split('\n## ', 1)[0] ?? ''
  const [, block] = section.split(`\n\`\`\`${language}\n`)
  const code = block?.split('\n```', 1)[0]
  if (code === undefined) throw new Error(`The README has no ${language} below "${heading}".`)
  return code
}
