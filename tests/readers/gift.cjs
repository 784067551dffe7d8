// Reads GIFT with gift-pegjs: node gift.cjs FOLDER-OF-GIFT-PEGJS FILE
const { parse } = require(process.argv[2] + "/node_modules/gift-pegjs");
const text = require("fs").readFileSync(process.argv[3], "utf8");
console.log(JSON.stringify(parse(text)));
