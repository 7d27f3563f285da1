/** One of several processes that put the same keys: `folder-racer.ts FOLDER WRITER KEYS`; sends the outcomes to its parent. */
import { FolderStore } from '#engine/repository'
import { positionedBytes } from '../../src/engine/repository/blob-store.contract.ts'

const [folder = '', writer = '0', keys = '0'] = process.argv.slice(2)
const store = await FolderStore.open(folder)
const outcomes: string[] = []
for (let i = 0; i < Number(keys); i += 1) {
  outcomes.push(await store.put(`log/${i}`, [positionedBytes(Number(writer), 5000)]))
}
process.send?.(outcomes, () => process.disconnect())
