import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Page, pageOf } from './page.ts'

test('pages follow each other without gap or repetition, by links that keep the query', () => {
  const all = Array.from({ length: 25 }, (_, at) => at)
  let url: string | undefined = 'https://h/x?api-version=1&$filter=a&%24skipToken=999'
  let token: string | undefined
  const seen: number[] = []
  for (let pages = 0; url !== undefined; pages += 1) {
    assert.ok(pages < 4)
    const page: Page<number> = pageOf(all, url, token, 10)
    seen.push(...page.value)
    url = page.nextLink
    token = /\$skipToken=(\d+)/.exec(url ?? '')?.[1]
    if (url !== undefined) assert.match(url, /^https:\/\/h\/x\?api-version=1&\$filter=a&\$skipToken=\d+$/)
  }
  assert.deepEqual(seen, all)
})

test('a token that is not ours begins at the beginning, and a list ends where it ends', () => {
  for (const token of ['-1', '1.5', 'x', '']) assert.deepEqual(pageOf([1], 'u', token).value, [1])
  assert.deepEqual(pageOf([1], 'u', '5'), { value: [] })
})
