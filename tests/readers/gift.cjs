// Reads GIFT with gift-pegjs: node gift.cjs FOLDER-OF-GIFT-PEGJS FILE...
const { parse } = require(process.argv[2] + "/node_modules/gift-pegjs");
const { readFileSync } = require("fs");
console.log(JSON.stringify(process.argv.slice(3).map((file) => parse(readFileSync(file, "utf8")))));
