import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { exitCodeOfCode } from '../src/cli/exit-code.ts'
import { documentedCodes, errorDocBreaches } from './error-docs.ts'
import { MAY_IMPORT, partOf } from './layers.ts'

/** The lists that a module exports under names ending in ERROR_CODES. */
async function listsOf(path: string): Promise<Map<string, readonly string[]>> {
  const module = (await import(pathToFileURL(path).href)) as Record<string, unknown>
  const lists = Object.entries(module).filter(([name, value]) => name.endsWith('ERROR_CODES') && Array.isArray(value))
  return new Map(lists.map(([name, value]) => [name, value as readonly string[]]))
}

async function codesOfParts(): Promise<string[]> {
  const codes: string[] = []
  for (const part of Object.keys(MAY_IMPORT)) {
    const face = [`src/${part}/index.ts`, `src/${part}/errors.ts`].find((path) => existsSync(path))
    if (face === undefined) continue
    const exported = await listsOf(face)
    for (const path of globSync(`src/${part}/**/errors.ts`).filter((path) => partOf(path) === part)) {
      for (const name of (await listsOf(path)).keys())
        assert.ok(exported.has(name), `${face} exports ${name} of ${path}`)
    }
    codes.push(...[...exported.values()].flat())
  }
  return codes
}

test('docs/errors.md explains every error code of every part, with its exit code, and no other', async () => {
  const codes = await codesOfParts()
  assert.ok(codes.length > 100, `only ${codes.length} codes were found: the check itself is broken`)
  const documented = documentedCodes(readFileSync('docs/errors.md', 'utf8'))
  assert.deepEqual(
    errorDocBreaches(
      documented,
      codes.map((code) => ({ code, exit: exitCodeOfCode(code) })),
    ),
    [],
  )
})

test('errorDocBreaches() finds planted differences', () => {
  const row = (code: string, exit: number) => ({ code, exit, happened: 'Something happened.', remedy: 'Do this.' })
  const coded = [
    { code: 'a_full', exit: 6 },
    { code: 'b_full', exit: 6 },
  ]
  assert.deepEqual(errorDocBreaches([row('a_full', 6), row('b_full', 6)], coded), [])
  assert.match(errorDocBreaches([row('a_full', 6)], coded).join(), /b_full is not in/)
  assert.match(errorDocBreaches([row('a_full', 5), row('b_full', 6)], coded).join(), /a_full exits 6/)
  assert.match(errorDocBreaches([row('a_full', 6), row('b_full', 6), row('c_full', 6)], coded).join(), /no part raises/)
  assert.match(errorDocBreaches([row('a_full', 6), row('a_full', 6), row('b_full', 6)], coded).join(), /2 times/)
  assert.match(errorDocBreaches([{ ...row('a_full', 6), remedy: '' }, row('b_full', 6)], coded).join(), /too little/)
})
